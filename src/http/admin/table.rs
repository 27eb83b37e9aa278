//! The one table of routes. Routing and `/v1/spec` are both made from it.

use actix_web::{FromRequest, Handler, Responder, guard, http::Method, web};

use super::{
    activity, audit, backup, check,
    describe::{Arguments, Describe, Operation, Schemas},
    endpoints, events, group_tree, groups, health, keys, limits, live, operators, playground, reports, search, secrets,
    session, signing_key, spec, status, webhooks,
};
use crate::http::error::AdminError;

/// Routes that belong together: a tag of the specification.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// Their purpose, in a sentence.
    pub(super) about: &'static str,
    pub(super) entries: Vec<Entry>,
}

/// One method on one path.
pub(super) struct Entry {
    pub(super) method: Method,
    /// As OpenAPI writes it, which is as actix reads it.
    pub(super) path: &'static str,
    /// How clients that are generated from the specification call it. It never changes.
    pub(super) operation_id: &'static str,
    /// What it does, in a few words.
    pub(super) summary: &'static str,
    /// What its handler's signature says.
    pub(super) describe: fn(&mut Operation, &mut Schemas),
    route: actix_web::Route,
}

fn section(name: &'static str, about: &'static str, entries: Vec<Entry>) -> Section {
    Section { name, about, entries }
}

fn entry<F, A>(
    method: Method,
    path: &'static str,
    operation_id: &'static str,
    summary: &'static str,
    handler: F,
) -> Entry
where
    F: Handler<A>,
    A: FromRequest + Arguments + 'static,
    F::Output: Responder + Describe + 'static,
{
    let describe = |operation: &mut Operation, schemas: &mut Schemas| {
        A::describe(operation, schemas);
        F::Output::describe(operation, schemas);
    };
    // Whoever may GET may ask for the head alone.
    let guard = match method {
        Method::GET => guard::Any(guard::Get()).or(guard::Head()),
        _ => guard::Any(guard::Method(method.clone())),
    };
    Entry { method, path, operation_id, summary, describe, route: web::route().guard(guard).to(handler) }
}

/// Every route of the admin API.
#[rustfmt::skip]
pub(super) fn table() -> Vec<Section> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const PATCH: Method = Method::PATCH;
    const DELETE: Method = Method::DELETE;
    const ENDPOINTS: &str = "/v1/gateway/endpoints";
    const CHECK: &str = "/v1/gateway/endpoints/check";
    const ENDPOINT: &str = "/v1/gateway/endpoints/{endpoint_id}";
    const GROUPS: &str = "/v1/gateway/groups";
    const GROUP: &str = "/v1/gateway/groups/{group_id}";
    const GROUP_TREE: &str = "/v1/gateway/group_tree";
    const GROUP_USAGE: &str = "/v1/gateway/groups/{group_id}/usage";
    const GROUP_LIMITS: &str = "/v1/gateway/groups/{group_id}/limits";
    const TRY: &str = "/v1/gateway/groups/{group_id}/try";
    const SEARCH: &str = "/v1/gateway/search";
    const KEYS: &str = "/v1/gateway/groups/{group_id}/api_keys";
    const REGISTER: &str = "/v1/gateway/groups/{group_id}/api_keys/register";
    const KEY: &str = "/v1/gateway/groups/{group_id}/api_keys/{api_key_prefix}";
    const SIGNING_KEY: &str = "/v1/gateway/signing_key";
    const EVENTS: &str = "/v1/gateway/events";
    const USAGE_REPORT: &str = "/v1/gateway/usage_report";
    const WEBHOOKS: &str = "/v1/gateway/webhooks";
    const WEBHOOK: &str = "/v1/gateway/webhooks/{webhook_id}";
    const WEBHOOK_TEST: &str = "/v1/gateway/webhooks/{webhook_id}/test";
    const ROTATE_SECRET: &str = "/v1/gateway/webhooks/{webhook_id}/rotate_secret";
    const DELIVERIES: &str = "/v1/gateway/webhooks/{webhook_id}/deliveries";
    const DEAD_LETTERS: &str = "/v1/gateway/webhooks/{webhook_id}/dead_letters";
    const REDELIVER: &str = "/v1/gateway/webhooks/{webhook_id}/dead_letters/redeliver";
    const BACKUP: &str = "/v1/gateway/backup";
    const STATUS: &str = "/v1/gateway/status";
    const ACTIVITY: &str = "/v1/gateway/activity";
    const LIVE: &str = "/v1/gateway/live";
    const SPEC: &str = "/v1/spec";
    const HEALTHZ: &str = "/healthz";
    const READYZ: &str = "/readyz";
    const OPERATORS: &str = "/v1/api_keys";
    const OPERATOR: &str = "/v1/api_keys/{operator_key_prefix}";
    const AUDIT_LOGS: &str = "/v1/audit_logs";
    const SESSION: &str = "/v1/session";
    const SECRETS: &str = "/v1/secrets";
    const SECRET: &str = "/v1/secrets/{name}";
    vec![
        section("Endpoints", "The models that customers may be given, and the servers that answer for them.", vec![
            entry(GET,    ENDPOINTS,     "listEndpoints",        "List endpoints", endpoints::list),
            entry(POST,   ENDPOINTS,     "createEndpoint",       "Create an endpoint", endpoints::create),
            entry(POST,   CHECK,         "checkEndpoint",        "Would an endpoint work?", check::check),
            entry(GET,    ENDPOINT,      "getEndpoint",          "Get an endpoint", endpoints::get),
            entry(PATCH,  ENDPOINT,      "updateEndpoint",       "Change an endpoint", endpoints::update),
            entry(DELETE, ENDPOINT,      "deleteEndpoint",       "Delete an endpoint", endpoints::delete),
        ]),
        section("Groups", "Customers as a tree of groups, the models that each may call, and the limits on them.", vec![
            entry(GET,    GROUPS,        "listGroups",           "List groups", groups::list),
            entry(POST,   GROUPS,        "createGroup",          "Create a group", groups::create),
            entry(GET,    GROUP,         "getGroup",             "Get a group", groups::get),
            entry(PATCH,  GROUP,         "updateGroup",          "Change a group", groups::update),
            entry(DELETE, GROUP,         "deleteGroup",          "Delete a group and its subtree", groups::delete),
            entry(GET,    GROUP_TREE,    "getGroupTree",         "Every group in a few words", group_tree::list),
            entry(GET,    GROUP_USAGE,   "getGroupUsage",        "What was used of a group's limits", limits::usage),
            entry(GET,    GROUP_LIMITS,  "getGroupLimits",       "Would a request pass now?", limits::limits),
            entry(POST,   TRY,           "tryModel",             "Call a model as a group's customer", playground::try_out),
            entry(GET,    SEARCH,        "search",               "Find by a part of a name", search::get),
        ]),
        section("API keys", "Customers' keys, those that Tollgate mints and those that customers have already.", vec![
            entry(GET,    KEYS,          "listApiKeys",          "List a group's API keys", keys::list),
            entry(POST,   KEYS,          "mintApiKey",           "Mint an API key", keys::mint),
            entry(POST,   REGISTER,      "registerApiKey",       "Take in a customer's own API key", keys::register),
            entry(GET,    KEY,           "getApiKey",            "Get an API key", keys::get),
            entry(PATCH,  KEY,           "updateApiKey",         "Change an API key", keys::update),
            entry(DELETE, KEY,           "revokeApiKey",         "Revoke an API key", keys::revoke),
            entry(GET,    SIGNING_KEY,   "getSigningKey",        "Get the registrations' public key", signing_key::get),
            entry(PUT,    SIGNING_KEY,   "setSigningKey",        "Set the registrations' public key", signing_key::put),
            entry(DELETE, SIGNING_KEY,   "deleteSigningKey",     "Delete that public key", signing_key::delete),
        ]),
        section("Billing", "Billing events and their sums.", vec![
            entry(GET,    EVENTS,        "listEvents",           "Read billing events", events::list),
            entry(GET,    USAGE_REPORT,  "getUsageReport",       "Sums of what was billed", reports::get),
        ]),
        section("Webhooks", "Receivers of billing events, and the deliveries that failed.", vec![
            entry(GET,    WEBHOOKS,      "listWebhooks",         "List webhooks", webhooks::list),
            entry(POST,   WEBHOOKS,      "createWebhook",        "Create a webhook", webhooks::create),
            entry(GET,    WEBHOOK,       "getWebhook",           "Get a webhook", webhooks::get),
            entry(PATCH,  WEBHOOK,       "updateWebhook",        "Change a webhook", webhooks::update),
            entry(DELETE, WEBHOOK,       "deleteWebhook",        "Delete a webhook", webhooks::delete),
            entry(POST,   WEBHOOK_TEST,  "testWebhook",          "Make a test delivery", webhooks::test),
            entry(POST,   ROTATE_SECRET, "rotateWebhookSecret",  "Give a webhook another secret", webhooks::rotate_secret),
            entry(GET,    DELIVERIES,    "listDeliveries",       "List the latest delivery attempts", webhooks::deliveries),
            entry(GET,    DEAD_LETTERS,  "listDeadLetters",      "List deliveries that were given up", webhooks::dead_letters),
            entry(POST,   REDELIVER,     "redeliverDeadLetters", "Deliver dead letters again", webhooks::redeliver),
        ]),
        section("Gateway", "How the gateway is, and its backups.", vec![
            entry(POST,   BACKUP,        "createBackup",         "Everything durable as one file", backup::create),
            entry(GET,    STATUS,        "getStatus",            "How the gateway is", status::status),
            entry(GET,    ACTIVITY,      "getActivity",          "What went on each minute", activity::activity),
            entry(GET,    LIVE,          "watchStatus",          "How it is, every second", live::live),
            entry(GET,    SPEC,          "getSpec",              "This specification", spec::get),
            entry(GET,    HEALTHZ,       "checkHealth",          "Is the process up?", health::healthz),
            entry(GET,    READYZ,        "checkReadiness",       "Can requests be metered?", health::readyz),
        ]),
        section("Operators", "Operators' keys and sessions, and what was changed by whom.", vec![
            entry(GET,    OPERATORS,     "listOperatorKeys",     "List operator keys", operators::list),
            entry(POST,   OPERATORS,     "createOperatorKey",    "Create an operator key", operators::create),
            entry(DELETE, OPERATOR,      "deleteOperatorKey",    "Delete an operator key", operators::delete),
            entry(GET,    AUDIT_LOGS,    "listAuditLogs",        "Who changed what", audit::list),
            entry(GET,    SESSION,       "getSession",           "The session of a cookie", session::current),
            entry(POST,   SESSION,       "beginSession",         "Begin a session", session::begin),
            entry(DELETE, SESSION,       "endSession",           "End a session", session::end),
        ]),
        section("Secrets", "Credentials that requests to providers carry.", vec![
            entry(GET,    SECRETS,       "listSecrets",          "List provider credentials", secrets::list),
            entry(POST,   SECRETS,       "storeSecret",          "Store a provider credential", secrets::put),
            entry(DELETE, SECRET,        "deleteSecret",         "Delete a provider credential", secrets::delete),
        ]),
    ]
}

/// Mounts the table: every path takes its methods and answers any other with a 405.
pub(super) fn mount(table: Vec<Section>, services: &mut web::ServiceConfig) {
    let mut table = table.into_iter().flat_map(|section| section.entries).peekable();
    while let Some(Entry { method, path, route, .. }) = table.next() {
        let (mut methods, mut resource) = (vec![method], web::resource(path).route(route));
        while let Some(Entry { method, route, .. }) = table.next_if(|next| next.path == path) {
            methods.push(method);
            resource = resource.route(route);
        }
        services.service(resource.default_service(only(methods)));
    }
}

/// What a path that takes these methods says to any other.
pub(super) fn only(methods: Vec<Method>) -> actix_web::Route {
    web::to(move || std::future::ready(Err::<String, _>(AdminError::WrongMethod(methods.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        table().into_iter().flat_map(|section| section.entries).collect()
    }

    #[test]
    fn methods_of_a_path_stand_together_and_once() {
        let table = entries();
        let paths: Vec<_> = table.iter().map(|entry| entry.path).collect();
        for (at, entry) in table.iter().enumerate() {
            let later = &table[at + 1..];
            assert!(
                !later.iter().any(|other| other.path == entry.path && other.method == entry.method),
                "{}",
                entry.path
            );
            let run = paths[at..].iter().take_while(|path| **path == entry.path).count();
            assert!(!paths[at + run..].contains(&entry.path), "{} stands in two places", entry.path);
        }
    }

    #[test]
    fn handlers_take_the_parameters_that_their_paths_name() {
        for entry in entries() {
            let mut operation = Operation::default();
            (entry.describe)(&mut operation, &mut Schemas::new());
            let described = operation.parameters.iter().filter(|one| one["in"] == "path");
            let described: Vec<_> = described.map(|one| format!("{{{}}}", one["name"].as_str().unwrap())).collect();
            let named: Vec<_> = entry.path.split('/').filter(|part| part.starts_with('{')).collect();
            assert_eq!(described, named, "{} {}", entry.method, entry.path);
            assert!(!operation.answers.is_empty(), "{} {}", entry.method, entry.path);
        }
    }

    #[test]
    fn only_a_few_routes_need_no_key() {
        let open = entries().into_iter().filter(|entry| {
            let mut operation = Operation::default();
            (entry.describe)(&mut operation, &mut Schemas::new());
            operation.types.is_none()
        });
        let open: Vec<_> = open.map(|entry| format!("{} {}", entry.method, entry.path)).collect();
        assert_eq!(open, ["GET /healthz", "GET /readyz", "GET /v1/session", "POST /v1/session"]);
    }
}
