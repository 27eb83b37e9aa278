// A conversation: a series of calls, each of which sends the earlier messages.

import { ApiError } from "../api.js";
import { button } from "../ui/button.js";
import { showMadeEvent } from "./made_event.js";
import { endView, transcript } from "./transcript.js";
import { tryCall } from "./try_call.js";

/** @import { CallFields } from "./fields.js" */
/** @import { OutcomePanel } from "./outcome.js" */
/** @import { Message } from "./try_body.js" */

/**
 * @param {{fields: CallFields, outcome: OutcomePanel, signal: AbortSignal, changed: () => void}} options `changed` is
 *   called when a call has ended, and when a new conversation begins
 */
export function conversation({ fields, outcome, signal, changed }) {
  /** The messages so far. @type {Message[]} */
  let messages = [];
  /** The last body sent. @type {unknown} */
  let sent = null;
  /** @type {AbortController | null} */
  let running = null;

  const log = transcript();
  const stop = button({ label: "Stop", icon: "stop", props: { disabled: true }, press: () => running?.abort() });
  const fresh = button({
    label: "New conversation", kind: "quiet",
    press: () => {
      forget();
      changed();
      fields.focus();
    },
  });

  /** Starts over. A running call belongs to the old conversation and is aborted. */
  const forget = () => {
    running?.abort();
    messages = [];
    sent = null;
    log.clear();
  };

  /** @param {string | undefined} group its id */
  const run = async (group) => {
    if (!group) throw new ApiError(0, "", "group: Pick a group. The call is billed to it.");
    fields.check();
    const [body, isChat, { label, text: asked }] = [fields.body(), fields.isChat(), fields.asked()];
    const history = messages;
    const stopping = new AbortController();
    sent = body;
    running = stopping;
    stop.disabled = false;
    log.ask(label, asked);
    const answer = log.answer();
    if (isChat) fields.write("");
    outcome.start();
    const ended = await tryCall({
      group, route: fields.route(), body, signal: AbortSignal.any([signal, stopping.signal]),
      head: outcome.head, piece: answer.add,
    });
    running = null;
    if (signal.aborted) return;
    if (document.activeElement === stop) fields.focus();
    stop.disabled = true;
    answer.end(endView(ended, group, fields.model()));
    outcome.ended(ended);
    const reply = answer.text();
    if (isChat && reply) history.push({ role: "user", content: asked }, { role: "assistant", content: reply });
    // Restore the text after a refusal, so that it can be sent again.
    else if (isChat && history === messages && !fields.text()) fields.write(asked);
    changed();
    void showMadeEvent({ outcome, ended, group, signal, isOver: () => signal.aborted || running !== null });
  };

  return {
    log, stop, fresh, run, forget,
    messages: () => messages,
    sent: () => sent,
    /** Forgets the last body: another model or route was chosen. */
    retarget() {
      sent = null;
    },
    arrange() {
      fresh.hidden = messages.length === 0;
    },
  };
}
