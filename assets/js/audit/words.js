// Names of actions and objects in the audit log.

/** Every event type of the API. */
export const ACTIONS = [
  "endpoint.created", "endpoint.updated", "endpoint.deleted",
  "group.created", "group.updated", "group.deleted",
  "api_key.created", "api_key.registered", "api_key.updated", "api_key.rotated", "api_key.revoked",
  "signing_key.written", "signing_key.deleted",
  "operator_key.created", "operator_key.deleted",
  "secret.written", "secret.deleted",
  "webhook.created", "webhook.updated", "webhook.secret_rotated", "webhook.redelivery_requested", "webhook.deleted",
  "backup.created",
];

/** `webhook.secret_rotated` as `Webhook: secret rotated` @param {string} action */
export function actionWords(action) {
  const [noun = "", verb = ""] = action.split(".");
  return `${objectWords(noun)}: ${verb.replaceAll("_", " ")}`;
}

/**
 * The name of a changed object, from its state.
 *
 * @param {any} change one of `event_data.changes`
 * @returns {string}
 */
export function subjectOf(change) {
  const of = change.after ?? change.before ?? {};
  const metadata = of.metadata;
  const group = metadata?.name || metadata?.external_entity_id;
  return group || of.slug || of.name || of.description || of.url || of.prefix || change.id;
}

/** `api_key` as `API key` @param {string} object */
export function objectWords(object) {
  const words = object.replaceAll("_", " ").replace(/^api/, "API");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {any} change */
export const verbOf = ({ before, after }) => (before === null ? "created" : after === null ? "deleted" : "changed");

/**
 * The address of an object's page.
 *
 * @param {string} object
 * @param {any} change
 */
export function placeOf(object, change) {
  const id = encodeURIComponent(change.id);
  const of = change.after ?? change.before ?? {};
  switch (object) {
    case "group": return `#/groups/${id}`;
    case "api_key": return of.group_id ? `#/groups/${encodeURIComponent(of.group_id)}/keys` : null;
    case "endpoint": return `#/endpoints/${id}`;
    case "webhook": return `#/webhooks/${id}`;
    case "dead_letter": return of.webhook_id ? `#/webhooks/${encodeURIComponent(of.webhook_id)}` : null;
    case "secret": return "#/secrets";
    case "operator_key": return "#/settings?tab=operators";
    case "signing_key": return "#/settings?tab=registration";
    default: return null;
  }
}
