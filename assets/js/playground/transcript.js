// The transcript of a conversation: questions, and answers as they stream in.

import { fill, h } from "../dom.js";
import { link } from "../router.js";
import { badge } from "../ui/badge.js";
import { growingText } from "./growing_text.js";

/** @import { Child } from "../dom.js" */
/** @import { Piece } from "./pieces.js" */
/** @import { Outcome } from "./try_call.js" */

/** The view follows new text if it is within this distance of the end, in px. */
const NEAR = 48;

const KINDS = { text: "", reasoning: "Reasoning", tools: "Tool calls" };

export function transcript() {
  const none = h("p", { class: "hint transcript-none" });
  const element = h("div", { class: "transcript", role: "log", "aria-label": "Conversation", tabindex: "0" }, none);
  const toEnd = () => {
    element.scrollTop = element.scrollHeight;
  };
  const grown = () => {
    if (element.scrollHeight - element.scrollTop - element.clientHeight < NEAR + element.clientHeight / 4) toEnd();
  };
  const turn = (/** @type {string} */ kind, /** @type {string} */ who) => {
    none.remove();
    const made = h("div", { class: ["turn", kind] }, h("p", { class: "turn-who" }, who));
    element.append(made);
    toEnd();
    return made;
  };
  return {
    element,
    /** Sets the text of an empty transcript. @param {Child} text */
    hint: (text) => fill(none, text),
    clear: () => fill(element, none),
    /** @param {string} who @param {string} text */
    ask(who, text) {
      turn("asked", who).append(h("p", { class: "turn-text" }, text));
      toEnd();
    },
    answer() {
      const made = turn("answered", "Answer");
      const waits = h("p", { class: "hint" }, "Waiting for the first token…");
      made.append(waits);
      element.setAttribute("aria-busy", "true");
      /** @type {Map<string, ReturnType<typeof growingText>>} */
      const parts = new Map();
      const part = (/** @type {Piece} */ { kind, choice }) => {
        const id = `${choice} ${kind}`;
        const there = parts.get(id);
        if (there) return there;
        waits.remove();
        const text = h("p", { class: "turn-text", data: { kind } });
        const growing = growingText(text, grown);
        const label = [choice > 0 && `Choice ${choice + 1}`, KINDS[kind]].filter(Boolean).join(", ");
        made.append(kind === "reasoning"
          ? h("details", { class: "reasoning", open: true }, h("summary", null, label), text)
          : h("div", null, label && h("p", { class: "hint" }, label), text));
        parts.set(id, growing);
        return growing;
      };
      return {
        /** @param {Piece} piece */
        add: (piece) => part(piece).add(piece.text),
        /** Ends the answer; `more` is shown below it. @param {Child} more */
        end(more) {
          for (const one of parts.values()) one.flush();
          waits.remove();
          if (more) made.append(h("div", { class: "turn-end" }, [more].flat()));
          element.removeAttribute("aria-busy");
          grown();
        },
        /** The first choice's text. */
        text: () => parts.get("0 text")?.text() ?? "",
      };
    },
  };
}

/** The end of a call, if it did not end normally. @param {Outcome} ended @param {string} group @param {string} slug */
export function endView({ head, error, stopped }, group, slug) {
  if (stopped) return h("p", { class: "hint" }, "Stopped.");
  if (!error) return null;
  const status = head?.status ?? 0;
  const of = encodeURIComponent(group);
  return refusalView({
    ...error, status: status >= 400 ? status : 0, retryAfter: head?.headers.get("retry-after") ?? null,
    more: status === 429
      ? h("a", { href: link(`/groups/${of}/why`, { slug }) }, "Why was this refused?")
      : status === 403 && h("a", { href: `#/groups/${of}` }, "Open the group"),
  });
}

/**
 * A refusal as the customer sees it.
 *
 * @param {{status: number, code: string, message: string, retryAfter: string | null, more: Child}} refusal
 */
const refusalView = ({ status, code, message, retryAfter, more }) =>
  h("div", { class: "refusal", role: "alert" },
    h("p", { class: "row" }, status > 0 && badge("bad", String(status)), code && h("code", null, code),
      retryAfter && h("span", { class: "hint" }, `Retry-After: ${retryAfter} s`)),
    h("p", { class: "turn-text" }, message),
    more && h("p", null, more));
