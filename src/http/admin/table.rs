//! The one table of routes. Routing and `/v1/spec` are both made from it.

use actix_web::{FromRequest, Handler, Responder, guard, http::Method, web};

use super::{
    activity, audit, backup, check,
    describe::{Arguments, Describe, Operation, Schemas},
    endpoints, events, group_tree, groups, health, keys, limits, live, operators, playground, reports, search, secrets,
    session, signing_key, spec, status, webhooks,
};
use crate::http::error::AdminError;

/// One method on one path.
pub(super) struct Entry {
    pub(super) method: Method,
    /// As OpenAPI writes it, which is as actix reads it.
    pub(super) path: &'static str,
    /// What it does, in a few words.
    pub(super) summary: &'static str,
    /// What its handler's signature says.
    pub(super) describe: fn(&mut Operation, &mut Schemas),
    route: actix_web::Route,
}

fn entry<F, A>(method: Method, path: &'static str, summary: &'static str, handler: F) -> Entry
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
    Entry { method, path, summary, describe, route: web::route().guard(guard).to(handler) }
}

/// Every route of the admin API.
#[rustfmt::skip]
pub(super) fn table() -> Vec<Entry> {
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
    const KEYS: &str = "/v1/gateway/groups/{group_id}/api_keys";
    const KEY: &str = "/v1/gateway/groups/{group_id}/api_keys/{api_key_prefix}";
    const REGISTER: &str = "/v1/gateway/groups/{group_id}/api_keys/register";
    const SEARCH: &str = "/v1/gateway/search";
    const SIGNING_KEY: &str = "/v1/gateway/signing_key";
    const USAGE_REPORT: &str = "/v1/gateway/usage_report";
    const WEBHOOKS: &str = "/v1/gateway/webhooks";
    const WEBHOOK: &str = "/v1/gateway/webhooks/{webhook_id}";
    const WEBHOOK_TEST: &str = "/v1/gateway/webhooks/{webhook_id}/test";
    const WEBHOOK_SECRET: &str = "/v1/gateway/webhooks/{webhook_id}/rotate_secret";
    const DELIVERIES: &str = "/v1/gateway/webhooks/{webhook_id}/deliveries";
    const DEAD_LETTERS: &str = "/v1/gateway/webhooks/{webhook_id}/dead_letters";
    const REDELIVER: &str = "/v1/gateway/webhooks/{webhook_id}/dead_letters/redeliver";
    const OPERATORS: &str = "/v1/api_keys";
    const OPERATOR: &str = "/v1/api_keys/{operator_key_prefix}";
    const SECRETS: &str = "/v1/secrets";
    const SECRET: &str = "/v1/secrets/{name}";
    const SESSION: &str = "/v1/session";
    vec![
        entry(GET,    ENDPOINTS,            "List endpoints",                    endpoints::list),
        entry(POST,   ENDPOINTS,            "Create an endpoint",                endpoints::create),
        entry(POST,   CHECK,                "Would an endpoint work?",           check::check),
        entry(GET,    ENDPOINT,             "Get an endpoint",                   endpoints::get),
        entry(PATCH,  ENDPOINT,             "Change an endpoint",                endpoints::update),
        entry(DELETE, ENDPOINT,             "Delete an endpoint",                endpoints::delete),
        entry(GET,    GROUPS,               "List groups",                       groups::list),
        entry(POST,   GROUPS,               "Create a group",                    groups::create),
        entry(GET,    GROUP,                "Get a group",                       groups::get),
        entry(PATCH,  GROUP,                "Change a group",                    groups::update),
        entry(DELETE, GROUP,                "Delete a group and its subtree",    groups::delete),
        entry(GET,    GROUP_TREE,           "Every group in a few words",        group_tree::list),
        entry(GET,    GROUP_USAGE,          "What was used of a group's limits", limits::usage),
        entry(GET,    GROUP_LIMITS,         "Would a request pass now?",         limits::limits),
        entry(POST,   TRY,                  "Call a model as a group's customer", playground::try_out),
        entry(GET,    KEYS,                 "List a group's API keys",           keys::list),
        entry(POST,   KEYS,                 "Mint an API key",                   keys::mint),
        entry(POST,   REGISTER,             "Take in a customer's own API key",  keys::register),
        entry(GET,    KEY,                  "Get an API key",                    keys::get),
        entry(PATCH,  KEY,                  "Change an API key",                 keys::update),
        entry(DELETE, KEY,                  "Revoke an API key",                 keys::revoke),
        entry(GET,    SEARCH,               "Find by a part of a name",          search::get),
        entry(GET,    SIGNING_KEY,          "Get the registrations' public key", signing_key::get),
        entry(PUT,    SIGNING_KEY,          "Set the registrations' public key", signing_key::put),
        entry(DELETE, SIGNING_KEY,          "Delete that public key",            signing_key::delete),
        entry(GET,    "/v1/gateway/events", "Read billing events",               events::list),
        entry(GET,    USAGE_REPORT,         "Sums of what was billed",           reports::get),
        entry(GET,    WEBHOOKS,             "List webhooks",                     webhooks::list),
        entry(POST,   WEBHOOKS,             "Create a webhook",                  webhooks::create),
        entry(GET,    WEBHOOK,              "Get a webhook",                     webhooks::get),
        entry(PATCH,  WEBHOOK,              "Change a webhook",                  webhooks::update),
        entry(DELETE, WEBHOOK,              "Delete a webhook",                  webhooks::delete),
        entry(POST,   WEBHOOK_TEST,         "Make a test delivery",              webhooks::test),
        entry(POST,   WEBHOOK_SECRET,       "Give a webhook another secret",     webhooks::rotate_secret),
        entry(GET,    DELIVERIES,           "List the latest delivery attempts", webhooks::deliveries),
        entry(GET,    DEAD_LETTERS,         "List deliveries that were given up", webhooks::dead_letters),
        entry(POST,   REDELIVER,            "Deliver dead letters again",        webhooks::redeliver),
        entry(POST,   "/v1/gateway/backup", "Everything durable as one file",    backup::create),
        entry(GET,    "/v1/gateway/status", "How the gateway is",                status::status),
        entry(GET,    "/v1/gateway/activity", "What went on each minute",        activity::activity),
        entry(GET,    "/v1/gateway/live",   "How it is, every second",           live::live),
        entry(GET,    OPERATORS,            "List operator keys",                operators::list),
        entry(POST,   OPERATORS,            "Create an operator key",            operators::create),
        entry(DELETE, OPERATOR,             "Delete an operator key",            operators::delete),
        entry(GET,    SECRETS,              "List provider credentials",         secrets::list),
        entry(POST,   SECRETS,              "Store a provider credential",       secrets::put),
        entry(DELETE, SECRET,               "Delete a provider credential",      secrets::delete),
        entry(GET,    "/v1/audit_logs",     "Who changed what",                  audit::list),
        entry(GET,    SESSION,              "The session of a cookie",           session::current),
        entry(POST,   SESSION,              "Begin a session",                   session::begin),
        entry(DELETE, SESSION,              "End a session",                     session::end),
        entry(GET,    "/v1/spec",           "This specification",                spec::get),
        entry(GET,    "/healthz",           "Is the process up?",                health::healthz),
        entry(GET,    "/readyz",            "Can requests be metered?",          health::readyz),
    ]
}

/// Mounts the table: every path takes its methods and answers any other with a 405.
pub(super) fn mount(table: Vec<Entry>, services: &mut web::ServiceConfig) {
    let mut table = table.into_iter().peekable();
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

    #[test]
    fn methods_of_a_path_stand_together_and_once() {
        let table = table();
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
        for entry in table() {
            let mut operation = Operation::default();
            (entry.describe)(&mut operation, &mut Schemas::new());
            let described = operation.parameters.iter().filter(|one| one["in"] == "path");
            let described: Vec<_> = described.map(|one| format!("{{{}}}", one["name"].as_str().unwrap())).collect();
            let named: Vec<_> = entry.path.split('/').filter(|part| part.starts_with('{')).collect();
            assert_eq!(described, named, "{} {}", entry.method, entry.path);
            assert!(operation.answer.is_some(), "{} {}", entry.method, entry.path);
        }
    }

    #[test]
    fn only_a_few_routes_need_no_key() {
        let open = table().into_iter().filter(|entry| {
            let mut operation = Operation::default();
            (entry.describe)(&mut operation, &mut Schemas::new());
            operation.types.is_none()
        });
        let open: Vec<_> = open.map(|entry| format!("{} {}", entry.method, entry.path)).collect();
        assert_eq!(open, ["GET /v1/session", "POST /v1/session", "GET /healthz", "GET /readyz"]);
    }
}
