//! A call that an operator makes as a customer of a group. The admin listener reads it; after that, it takes the same
//! steps as a customer's call on this listener, from the check of the key on.

use std::{sync::Arc, time::Instant};

use actix_http::{Payload, Response, Version, body::BoxBody, header::HeaderMap};
use bytes::Bytes;
use uuid::Uuid;

use super::{
    api::Api,
    body::admit_body,
    call::{log_outcome, may_call, metered},
    error::Problem,
    headers,
    worker::Worker,
};
use crate::{
    crypto::random,
    domain::route::Route,
    service::{
        catalog::KeyEntry,
        request::{Call, admission::Arrived},
    },
};

/// A trial call.
pub(in crate::http) struct Trial<'a> {
    /// An internal key of the group that is billed. No customer has it.
    pub(in crate::http) key: Arc<KeyEntry>,
    /// The route that is called.
    pub(in crate::http) route: Route,
    /// The headers of the call.
    pub(in crate::http) headers: &'a HeaderMap,
    /// The whole body of the call.
    pub(in crate::http) body: Bytes,
}

impl Trial<'_> {
    /// Makes the call. Returns the response that a customer would get.
    pub(in crate::http) async fn respond(self, worker: &Worker, version: Version) -> Response<BoxBody> {
        let at = Instant::now();
        let trace_id = headers::trace_id(self.headers);
        let Self { key, route, headers, body } = self;
        let api = Api::of(route.path());
        let measured = worker.requests.measure(Some(route.path()), at);
        measured.set_group(key.group.id);
        let (id, reply) = match random::uuid() {
            Err(_) => {
                let failed = Err(Problem::no_random());
                (Uuid::nil(), log_outcome(failed, api, Uuid::nil(), trace_id, route.path(), at, &measured))
            }
            Ok(id) => {
                let answered = async {
                    let key = may_call(Some(key))?;
                    let room = admit_body(&worker.gateway, &key, &body).await?;
                    let arrived = Arrived { id: id.as_u128(), trace_id, key, route, at, waited_for_body: at.elapsed() };
                    let passed_on = headers::passed_on(headers, id.as_u128(), trace_id);
                    let session_affinity = headers::session_affinity(headers);
                    let call = Call { arrived, body, room, passed_on, session_affinity, beta: false };
                    metered(worker, call, &measured).await
                };
                (id, log_outcome(answered.await, api, id, trace_id, route.path(), at, &measured))
            }
        };
        reply.into_response(api, id, version, Payload::None, measured).map_into_boxed_body()
    }
}
