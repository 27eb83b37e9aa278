//! The table of all routes of the API. Routing and `/v1/spec` are both made from it. The files of the web UI are not in
//! it (`assets`).

use actix_web::http::Method;

use super::{
    api::{
        route::{Section, entry, section},
        spec,
    },
    resources::{
        activity, alerts, audit, backup, check, dead_letters, endpoints, events, group_tree, groups, health, keys,
        limits, live, metrics, operators, playground, reports, search, secrets, session, signing_key, simulation,
        status, webhooks,
    },
};

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
    const SIMULATE: &str = "/v1/gateway/groups/{group_id}/simulate";
    const TRY: &str = "/v1/gateway/groups/{group_id}/try";
    const SEARCH: &str = "/v1/gateway/search";
    const KEYS: &str = "/v1/gateway/groups/{group_id}/api_keys";
    const REGISTER: &str = "/v1/gateway/groups/{group_id}/api_keys/register";
    const KEY: &str = "/v1/gateway/groups/{group_id}/api_keys/{api_key_prefix}";
    const ROTATE_KEY: &str = "/v1/gateway/groups/{group_id}/api_keys/{api_key_prefix}/rotate";
    const SIGNING_KEY: &str = "/v1/gateway/signing_key";
    const EVENTS: &str = "/v1/gateway/events";
    const ALERTS: &str = "/v1/gateway/alerts";
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
    const METRICS: &str = "/metrics";
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
        section("Endpoints", "The models that customers can call, and the servers that provide them.", vec![
            entry(GET,    ENDPOINTS,     "listEndpoints",        "List endpoints", endpoints::list),
            entry(POST,   ENDPOINTS,     "createEndpoint",       "Create an endpoint", endpoints::create),
            entry(POST,   CHECK,         "checkEndpoint",        "Check an endpoint before use", check::check),
            entry(GET,    ENDPOINT,      "getEndpoint",          "Get an endpoint", endpoints::get),
            entry(PATCH,  ENDPOINT,      "updateEndpoint",       "Change an endpoint", endpoints::update),
            entry(DELETE, ENDPOINT,      "deleteEndpoint",       "Delete an endpoint", endpoints::delete),
        ]),
        section("Groups", "Customers as a tree of groups, the models that each group may call, and their limits.", vec![
            entry(GET,    GROUPS,        "listGroups",           "List groups", groups::list),
            entry(POST,   GROUPS,        "createGroup",          "Create a group", groups::create),
            entry(GET,    GROUP,         "getGroup",             "Get a group", groups::get),
            entry(PATCH,  GROUP,         "updateGroup",          "Change a group", groups::update),
            entry(DELETE, GROUP,         "deleteGroup",          "Delete a group and its subtree", groups::delete),
            entry(GET,    GROUP_TREE,    "getGroupTree",         "List a summary of every group", group_tree::list),
            entry(GET,    GROUP_USAGE,   "getGroupUsage",        "Get the use of a group's limits", limits::usage),
            entry(GET,    GROUP_LIMITS,  "getGroupLimits",       "Check whether a request would pass", limits::limits),
            entry(POST,   SIMULATE,      "simulateLimits",       "Try limits on past requests", simulation::simulate),
            entry(POST,   TRY,           "tryModel",             "Call a model as a customer", playground::try_out),
            entry(GET,    SEARCH,        "search",               "Search by part of a name", search::get),
        ]),
        section("API keys", "Customers' keys: minted by Tollgate, or registered by the customer's own system.", vec![
            entry(GET,    KEYS,          "listApiKeys",          "List a group's API keys", keys::list),
            entry(POST,   KEYS,          "mintApiKey",           "Mint an API key", keys::mint),
            entry(POST,   REGISTER,      "registerApiKey",       "Register an existing API key", keys::register),
            entry(GET,    KEY,           "getApiKey",            "Get an API key", keys::get),
            entry(PATCH,  KEY,           "updateApiKey",         "Change an API key", keys::update),
            entry(DELETE, KEY,           "revokeApiKey",         "Revoke an API key", keys::revoke),
            entry(POST,   ROTATE_KEY,    "rotateApiKey",         "Replace an API key", keys::rotate),
            entry(GET,    SIGNING_KEY,   "getSigningKey",        "Get the registration key", signing_key::get),
            entry(PUT,    SIGNING_KEY,   "setSigningKey",        "Set the registration key", signing_key::put),
            entry(DELETE, SIGNING_KEY,   "deleteSigningKey",     "Delete the registration key", signing_key::delete),
        ]),
        section("Billing", "Billing events, usage reports, and alerts about limits and budgets.", vec![
            entry(GET,    EVENTS,        "listEvents",           "List billing events", events::list),
            entry(GET,    USAGE_REPORT,  "getUsageReport",       "Get a usage report", reports::get),
            entry(GET,    ALERTS,        "listAlerts",           "List alerts", alerts::list),
        ]),
        section("Webhooks", "Receivers of billing events, and failed deliveries.", vec![
            entry(GET,    WEBHOOKS,      "listWebhooks",         "List webhooks", webhooks::list),
            entry(POST,   WEBHOOKS,      "createWebhook",        "Create a webhook", webhooks::create),
            entry(GET,    WEBHOOK,       "getWebhook",           "Get a webhook", webhooks::get),
            entry(PATCH,  WEBHOOK,       "updateWebhook",        "Change a webhook", webhooks::update),
            entry(DELETE, WEBHOOK,       "deleteWebhook",        "Delete a webhook", webhooks::delete),
            entry(POST,   WEBHOOK_TEST,  "testWebhook",          "Send a test delivery", webhooks::test),
            entry(POST,   ROTATE_SECRET, "rotateWebhookSecret",  "Rotate a webhook's secret", webhooks::rotate_secret),
            entry(GET,    DELIVERIES,    "listDeliveries",       "List recent delivery attempts", webhooks::deliveries),
            entry(GET,    DEAD_LETTERS,  "listDeadLetters",      "List dead letters", dead_letters::list),
            entry(POST,   REDELIVER,     "redeliverDeadLetters", "Redeliver dead letters", dead_letters::redeliver),
        ]),
        section("Gateway", "The state of the gateway, and its backups.", vec![
            entry(POST,   BACKUP,        "createBackup",         "Download a backup of all data", backup::create),
            entry(GET,    STATUS,        "getStatus",            "Get the gateway's status", status::status),
            entry(GET,    ACTIVITY,      "getActivity",          "Get the last day by the minute", activity::activity),
            entry(GET,    LIVE,          "watchStatus",          "Stream the status every second", live::live),
            entry(GET,    METRICS,       "getMetrics",           "Get the metrics for Prometheus", metrics::get),
            entry(GET,    SPEC,          "getSpec",              "Get this specification", spec::get),
            entry(GET,    HEALTHZ,       "checkHealth",          "Check whether the process is up", health::healthz),
            entry(GET,    READYZ,        "checkReadiness",       "Check whether metering works", health::readyz),
        ]),
        section("Operators", "Operator keys and sessions, and the audit log.", vec![
            entry(GET,    OPERATORS,     "listOperatorKeys",     "List operator keys", operators::list),
            entry(POST,   OPERATORS,     "createOperatorKey",    "Create an operator key", operators::create),
            entry(DELETE, OPERATOR,      "deleteOperatorKey",    "Delete an operator key", operators::delete),
            entry(GET,    AUDIT_LOGS,    "listAuditLogs",        "List audit log entries", audit::list),
            entry(GET,    SESSION,       "getSession",           "Get the session of the cookie", session::current),
            entry(POST,   SESSION,       "beginSession",         "Sign in: begin a session", session::begin),
            entry(DELETE, SESSION,       "endSession",           "Sign out: end the session", session::end),
        ]),
        section("Secrets", "Credentials for requests to providers.", vec![
            entry(GET,    SECRETS,       "listSecrets",          "List provider credentials", secrets::list),
            entry(POST,   SECRETS,       "storeSecret",          "Store a provider credential", secrets::put),
            entry(DELETE, SECRET,        "deleteSecret",         "Delete a provider credential", secrets::delete),
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::api::{
        describe::{Operation, Schemas},
        route::Entry,
    };

    fn entries() -> Vec<Entry> {
        table().into_iter().flat_map(|section| section.entries).collect()
    }

    #[test]
    fn entries_of_one_path_are_adjacent_and_have_distinct_methods() {
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
            assert!(!paths[at + run..].contains(&entry.path), "{} is listed in two places", entry.path);
        }
    }

    #[test]
    fn handlers_have_the_parameters_that_their_paths_name() {
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
