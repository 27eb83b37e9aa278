// One endpoint: its slug, its targets in order, its prices. A new endpoint uses the same form.

import { ApiError, api } from "../api.js";
import { fill, h } from "../dom.js";
import { plural } from "../format.js";
import { watch } from "../live.js";
import { carrierList, carriersOf } from "../models/carriers.js";
import { failedTargets } from "../models/check_view.js";
import { priceFields } from "../models/price_fields.js";
import { samePrice } from "../models/prices.js";
import { targetList } from "../models/target_list.js";
import { go, link } from "../router.js";
import { button, linkButton } from "../ui/button.js";
import { confirmDanger } from "../ui/dialog.js";
import { field, form, select, textInput } from "../ui/form.js";
import { notice } from "../ui/notice.js";
import { card, page, section } from "../ui/page.js";
import { toast } from "../ui/toast.js";

/** @import * as T from "../api_types.js" */
/** @import { TargetBody } from "../models/providers.js" */
/** @import { Context } from "../router.js" */

const CHECK_FAILED =
  "The check found a problem. See the target for how to fix it, or save now and fix it later.";

/** @param {Context} context */
export default async function endpointPage({ params, query, signal }) {
  const id = params.id;
  const [found, { secrets }, status] = await Promise.all([
    id ? api.endpoints.get(id) : null, api.secrets.list(), id ? api.status() : null,
  ]);
  /** The stored endpoint. @type {T.Endpoint | null} */
  let endpoint = found;
  /** Slug and targets of the last body that passed the check, as `checkedParts` returns them. */
  let passedParts = "";

  const slug = textInput({
    value: endpoint?.slug ?? query.get("slug") ?? "", placeholder: "acme/chat", maxlength: 255,
    autocomplete: "off", autocapitalize: "off", spellcheck: "false",
  });
  const region = select([["UNRESTRICTED", "Unrestricted"], ["EU", "EU"]],
    { value: endpoint?.region, disabled: endpoint !== null });
  const prices = priceFields(endpoint?.pricing);
  const renamed = h("div", { "aria-live": "polite" });
  const problems = h("div", { "aria-live": "polite" });
  const targets = targetList({
    targets: endpoint?.targets ?? [{ provider: "OPENAI_COMPATIBLE" }], secrets, isNew: !endpoint,
    changed: () => fill(problems),
  });

  const formBody = () => ({
    slug: slug.value.trim(),
    region: region.value,
    targets: targets.body(),
    pricing: prices.body(),
  });
  const checkedParts = (/** @type {ReturnType<typeof formBody>} */ body) => JSON.stringify([body.slug, body.targets]);
  const asStored = (/** @type {TargetBody[]} */ of) => JSON.stringify(of.map((target) =>
    Object.entries(target).filter(([, value]) => value != null).sort()));
  const isChanged = (/** @type {ReturnType<typeof formBody>} */ body) => !endpoint ||
    asStored(body.targets) !== asStored(endpoint.targets) ||
    // A target without a model name is sent the slug.
    (body.slug !== endpoint.slug && body.targets.some((target) => !target.target_model));

  /** Checks the servers. True if none has a problem. @returns {Promise<boolean>} */
  const check = async () => {
    const body = formBody();
    fill(problems);
    targets.checking();
    try {
      const checked = await api.endpoints.check(body);
      if (signal.aborted) return false;
      // The form was edited during the check: check again.
      if (checkedParts(formBody()) !== checkedParts(body)) return check();
      targets.found(checked);
      const bad = failedTargets(checked);
      passedParts = bad === 0 ? checkedParts(body) : "";
      return bad === 0;
    } catch (error) {
      targets.found({ targets: [] });
      throw error;
    }
  };

  const store = async () => {
    const body = formBody();
    const was = endpoint;
    if (!was) {
      const made = await api.endpoints.create(body);
      toast(`${made.slug} was created. You can now add it to groups.`);
      return signal.aborted || go(`/endpoints/${encodeURIComponent(made.id)}`);
    }
    const patch = {
      ...(body.slug !== was.slug && { slug: body.slug }),
      ...(asStored(body.targets) !== asStored(was.targets) && { targets: body.targets }),
      ...(samePrice(body.pricing) !== samePrice(was.pricing) && { pricing: body.pricing }),
    };
    if (!Object.keys(patch).length) return toast("There are no changes to save.");
    /** @type {T.Endpoint} */
    const now = await api.endpoints.update(was.id, patch);
    if (signal.aborted) return toast(`${now.slug} was saved.`);
    endpoint = now;
    targets.saved();
    fill(problems);
    fill(renamed);
    title(now.slug);
    tryIt?.setAttribute("href", link("/playground", { slug: now.slug }));
    toast("Saved. The change applies from the next request.");
  };

  const anyway = button({
    label: "Save anyway",
    press: () => store().catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      made.showErrors(error);
    }),
  });
  const made = form({
    submit: endpoint ? "Save" : "Create endpoint",
    send: async () => {
      const body = formBody();
      const problem = isChanged(body) && passedParts !== checkedParts(body) && await check().then(
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
        press: async () => {
          made.showErrors();
          await check().catch((error) => {
            if (!(error instanceof ApiError)) throw error;
            made.showErrors(error);
          });
        },
      }),
      h("span", { class: "hint" }, "The check asks each server for its list of models and for a short answer. Nothing is billed."),
    ],
  },
  card(h("div", { class: "columns" },
    h("div", { class: "stack" },
      field({
        label: "Slug", name: "slug", input: slug,
        hint: "The name that customers send as “model”, in the form org/name.",
      }), renamed),
    field({
      label: "Region", name: "region", input: region,
      hint: endpoint ? "It cannot be changed." : "The location of the servers. It cannot be changed later.",
    }))),
  section({
    heading: "Targets",
    lead: "The servers that run the model. A request goes to the first target; if that fails, to the next.",
  }, targets.element),
  section({
    heading: "Price",
    lead: "Prices per million tokens, for the costs in events and reports. Leave all empty for no price. Cached input defaults to the input price.",
  },
  prices.element),
  problems);

  slug.addEventListener("input", () => {
    if (!endpoint) return;
    const isOther = slug.value.trim() !== endpoint.slug;
    if (!isOther) return fill(renamed);
    if (renamed.childElementCount) return;
    const count = h("span");
    fill(renamed, notice("warn", "Customers use this name. After you save, calls to ", endpoint.slug,
      " fail until customers switch to the new name. ", count));
    void carriersOf(endpoint.slug).then((groups) =>
      fill(count, groups.length
        ? `${plural(groups.length, "group")} will switch to the new name. Usage is kept.`
        : "No group uses it."));
  });

  const remove = async () => {
    if (!endpoint) return;
    const { id: of, slug: name } = endpoint;
    const groups = await carriersOf(name);
    if (signal.aborted) return;
    const done = await confirmDanger({
      heading: "Delete this endpoint?",
      text: [
        h("p", null, "Calls to ", h("strong", null, name),
          " fail immediately with model_not_found. Events and reports are kept."),
        groups.length === 0
          ? h("p", null, "No group uses it.")
          : [h("p", null, `${plural(groups.length, "group uses", "groups use")} it, and will still list its name:`),
            carrierList(groups)],
      ],
      action: "Delete endpoint",
      word: name,
      wordLabel: "To confirm, type its slug",
      run: () => api.endpoints.delete(of),
    });
    if (!done) return;
    toast(`${name} was deleted.`);
    go("/endpoints");
  };

  const tryIt = endpoint &&
    linkButton({ label: "Try it", icon: "play", href: link("/playground", { slug: endpoint.slug }) });
  const drawn = page({
    heading: endpoint?.slug ?? "New endpoint",
    lead: endpoint ? null : "A name under which customers call a model, and the servers that run it.",
    crumbs: [["#/endpoints", "Endpoints"]],
    actions: endpoint && [tryIt, button({ label: "Delete", icon: "trash", kind: "danger-quiet", press: remove })],
  }, made);
  const title = (/** @type {string} */ text) => {
    fill(drawn.element.querySelector("h1") ?? drawn.element, text);
    document.title = `${text} · Tollgate`;
  };

  if (id && status) {
    const show = (/** @type {T.Status} */ { upstreams }) =>
      targets.health(upstreams.filter(({ endpoint_id: of }) => of === id));
    show(status);
    watch({ event: (event) => show(event.status) }, signal);
  }
  return drawn;
}
