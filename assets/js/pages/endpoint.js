// One endpoint: its slug, its targets in order, its prices. A new endpoint uses the same form.

import { ApiError, api } from "../api.js";
import { fill, h } from "../dom.js";
import { plural } from "../format.js";
import { watch } from "../live.js";
import { carrierList, carriersOf } from "../models/carriers.js";
import { patchOf } from "../models/endpoint_body.js";
import { endpointFields } from "../models/endpoint_fields.js";
import { serverCheck } from "../models/server_check.js";
import { go, link } from "../router.js";
import { button, linkButton } from "../ui/button.js";
import { confirmDanger } from "../ui/dialog.js";
import { form } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { page } from "../ui/page.js";
import { toast } from "../ui/toast.js";

/** @import * as T from "../api_types.js" */
/** @import { EndpointFields } from "../models/endpoint_fields.js" */
/** @import { Context } from "../router.js" */

const CHECK_FAILED =
  "The check found a problem. See the target for how to fix it, or save now and fix it later.";

/** @param {Context} context */
export default async function endpointPage({ params, query, signal }) {
  const id = params.id;
  const [stored, { secrets }, status] = await Promise.all([
    id ? api.endpoints.get(id) : null, api.secrets.list(), id ? api.status() : null,
  ]);
  const problems = h("div", { "aria-live": "polite" });
  const fields = endpointFields({
    endpoint: stored, slug: query.get("slug") ?? "", secrets, targetsChanged: () => fill(problems),
  });
  const tryIt = stored &&
    linkButton({ label: "Try it", icon: "play", href: link("/playground", { slug: stored.slug }) });

  const made = endpointForm({
    stored, fields, problems, signal,
    saved: (now) => {
      fields.saved(now);
      fill(drawn.element.querySelector("h1") ?? drawn.element, now.slug);
      document.title = `${now.slug} · Tollgate`;
      tryIt?.setAttribute("href", link("/playground", { slug: now.slug }));
    },
  });
  const drawn = page({
    heading: stored?.slug ?? "New endpoint",
    lead: stored ? null : "A name under which customers call a model, and the servers that run it.",
    crumbs: [["#/endpoints", "Endpoints"]],
    actions: stored && [tryIt, button({
      label: "Delete", icon: "trash", kind: "danger-quiet", press: () => remove(made.stored(), signal),
    })],
  }, made.element);

  if (id && status) {
    const show = (/** @type {T.Status} */ { upstreams, queues }) => {
      fields.targets.health(upstreams.filter(({ endpoint_id: of }) => of === id));
      fields.routing.queue(queues.find(({ endpoint_id: of }) => of === id));
    };
    show(status);
    watch({ event: (event) => show(event.status) }, signal);
  }
  return drawn;
}

/**
 * The form of an endpoint, which checks the servers before it is sent.
 *
 * @param {{stored: T.Endpoint | null, fields: EndpointFields, problems: HTMLElement, signal: AbortSignal,
 *   saved: (endpoint: T.Endpoint) => void}} options `problems` shows a failed check
 */
function endpointForm({ stored: first, fields, problems, signal, saved }) {
  let stored = first;
  const check = serverCheck(fields, signal);

  const store = async () => {
    const body = fields.body();
    if (!stored) {
      const made = await api.endpoints.create(body);
      toast(`${made.slug} was created. You can now add it to groups.`);
      return signal.aborted || go(`/endpoints/${encodeURIComponent(made.id)}`);
    }
    const patch = patchOf(body, stored);
    if (!Object.keys(patch).length) return toast("There are no changes to save.");
    const now = await api.endpoints.update(stored.id, patch);
    if (signal.aborted) return toast(`${now.slug} was saved.`);
    stored = now;
    fill(problems);
    saved(now);
    toast("Saved. The change applies from the next request.");
  };
  /** Runs `work` and shows an `ApiError` at its field. @param {() => Promise<unknown>} work */
  const showingErrors = (work) => work().catch((error) => {
    if (!(error instanceof ApiError)) throw error;
    element.showErrors(error);
  });
  const anyway = button({ label: "Save anyway", press: () => showingErrors(store) });
  const element = form({
    submit: stored ? "Save" : "Create endpoint",
    send: async () => {
      fill(problems);
      const problem = check.isNeeded(fields.body(), stored) && await check.run(stored).then(
        (passed) => (passed ? "" : CHECK_FAILED),
        (error) => {
          if (!(error instanceof ApiError) || error.field || error.status < 404) throw error;
          return `The check could not be run: ${error.sentence}`;
        });
      if (signal.aborted) return;
      if (!problem) return store();
      fill(problems, notice("warn", h("div", { class: "stack-tight" }, h("p", null, problem), h("div", null, anyway))));
      anyway.focus();
    },
    extra: [
      button({
        label: "Check",
        press: () => {
          element.showErrors();
          fill(problems);
          return showingErrors(() => check.run());
        },
      }),
      h("span", { class: "hint" }, "The check asks each server for its list of models and for a short answer. Nothing is billed."),
    ],
  }, fields.elements, problems);
  return { element, stored: () => stored };
}

/** @param {T.Endpoint | null} endpoint @param {AbortSignal} signal */
async function remove(endpoint, signal) {
  if (!endpoint) return;
  const { id, slug } = endpoint;
  const groups = await carriersOf(slug);
  if (signal.aborted) return;
  const done = await confirmDanger({
    heading: "Delete this endpoint?",
    text: [
      h("p", null, "Calls to ", h("strong", null, slug),
        " fail immediately with model_not_found. Events and reports are kept."),
      groups.length === 0
        ? h("p", null, "No group uses it.")
        : [h("p", null, `${plural(groups.length, "group uses", "groups use")} it, and will still list its name:`),
          carrierList(groups)],
    ],
    action: "Delete endpoint",
    word: slug,
    wordLabel: "To confirm, type its slug",
    run: () => api.endpoints.delete(id),
  });
  if (!done) return;
  toast(`${slug} was deleted.`);
  go("/endpoints");
}
