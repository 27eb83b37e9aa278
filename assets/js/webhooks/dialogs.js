// Dialogs that create, edit and delete webhooks.

import { api } from "../api.js";
import { h } from "../dom.js";
import { plural } from "../format.js";
import { go } from "../router.js";
import { snippet } from "../ui/copy.js";
import { confirmDanger, dialog, showSecret } from "../ui/dialog.js";
import { choice, field, form, textInput } from "../ui/form.js";
import { toast } from "../ui/toast.js";
import { VERIFY } from "./verify_sample.js";
import { TYPES, hostOf } from "./words.js";

/** @import * as T from "../api_types.js" */

/** @param {T.Webhook} [webhook] the webhook to edit */
function fieldsFor(webhook) {
  const url = textInput({
    type: "url", name: "url", value: webhook?.url, placeholder: "https://billing.example/usage", required: true,
    spellcheck: "false",
  });
  const description = textInput({ name: "description", value: webhook?.description ?? "", maxlength: 255 });
  const types = choice({
    legend: "Receives", name: "types", value: webhook?.types ?? ["API_BILLING_USAGE"], options: TYPES,
  });
  return {
    values: () => ({
      url: url.value.trim(), description: description.value.trim() || null,
      types: [...types.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value),
    }),
    elements: [
      field({
        label: "URL", name: "url", input: url,
        hint: ["It gets signed POST requests, and must answer 2xx within ten seconds. ",
          "Use http only within your own network."],
      }),
      field({ label: "Description", name: "description", input: description, optional: true }),
      types,
    ],
  };
}

export async function newWebhook() {
  const made = await dialog({
    heading: "New webhook",
    content: (/** @type {(made?: T.WebhookWithSecret) => void} */ close) => {
      const { values, elements } = fieldsFor();
      return form({
        submit: "Create webhook", cancel: () => close(),
        send: async () => close(await api.webhooks.create(values())),
      }, elements);
    },
  });
  if (!made) return;
  await showWebhookSecret(made, "Webhook created", "It receives the selected types from now on.");
  go(`/webhooks/${encodeURIComponent(made.id)}`);
}

/** @param {T.Webhook} webhook @returns {Promise<boolean>} whether it was changed */
export async function editWebhook(webhook) {
  const done = await dialog({
    heading: "Edit webhook",
    content: (/** @type {(done?: boolean) => void} */ close) => {
      const { values, elements } = fieldsFor(webhook);
      return form({
        submit: "Save", cancel: () => close(),
        send: async () => {
          await api.webhooks.update(webhook.id, values());
          close(true);
        },
      }, elements);
    },
  });
  if (done) toast("Webhook saved.");
  return done === true;
}

/** @param {T.Webhook} webhook @returns {Promise<boolean>} whether it was rotated */
export async function rotateSecret(webhook) {
  const made = await dialog({
    heading: "Rotate the signing secret?",
    content: (/** @type {(made?: T.WebhookWithSecret) => void} */ close) => form({
      submit: "Rotate secret", cancel: () => close(),
      send: async () => close(await api.webhooks.rotateSecret(webhook.id)),
    }, h("p", null, "A new secret signs deliveries from now on. The current one also signs for 24 hours, ",
      "so that the receiver has time to switch; after that it is invalid.")),
  });
  if (!made) return false;
  await showWebhookSecret(made, "Secret rotated", "Give it to the receiver within 24 hours.");
  return true;
}

/** @param {T.WebhookWithSecret} webhook @param {string} heading @param {string} text */
const showWebhookSecret = (webhook, heading, text) => showSecret({
  heading,
  text: [text, " The signing secret is shown only once."],
  label: "Signing secret",
  secret: webhook.secret,
  more: h("div", { class: "stack" },
    h("p", null, "Verify each delivery with it before you trust its content:"),
    snippet({ label: "Node.js", text: VERIFY })),
});

/** @param {T.Webhook} webhook */
export async function deleteWebhook(webhook) {
  const done = await confirmDanger({
    heading: "Delete this webhook?",
    text: [
      h("p", null, "Nothing is delivered to ", h("strong", { class: "anywhere" }, webhook.url), " any more, ",
        "and its dead letters are deleted. Billing events are kept."),
    ],
    action: "Delete webhook",
    word: hostOf(webhook.url),
    wordLabel: "To confirm, type its host",
    run: () => api.webhooks.delete(webhook.id),
  });
  if (!done) return;
  toast("Webhook deleted.");
  go("/webhooks");
}

/** @param {T.Webhook} webhook @param {number} count @returns {Promise<boolean>} */
export async function redeliverAll(webhook, count) {
  const done = await dialog({
    heading: "Redeliver all dead letters?",
    content: (/** @type {(done?: boolean) => void} */ close) => form({
      submit: "Redeliver all", cancel: () => close(),
      send: async () => {
        await api.webhooks.redeliver(webhook.id, undefined);
        close(true);
      },
    }, h("p", null, `${plural(count, "delivery is", "deliveries are")} sent again. The receiver may already have some of the events; `,
      "it can recognize them by their idempotencyKey.")),
  });
  return done === true;
}
