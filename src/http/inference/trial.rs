//! A call that an operator makes as a customer of a group. It is read on the admin listener; from the check of its key on
//! it is answered as this listener answers customers, by the same steps.

use std::{sync::Arc, time::Instant};

use actix_http::{Payload, Response, Version, body::BoxBody, header::HeaderMap};
use bytes::Bytes;
use uuid::Uuid;

use super::{body::admit_body, error::Problem, headers, may_call, metered, told};
use crate::{
    crypto::random,
    domain::route::Route,
    service::{
        catalog::KeyEntry,
        inference::{Call, Worker},
        metering::Arrived,
    },
};

/// What is tried out.
pub(in crate::http) struct Trial<'a> {
    /// Of the group that is billed; no customer has it.
    pub(in crate::http) key: Arc<KeyEntry>,
    /// What is called.
    pub(in crate::http) route: Route,
    /// The headers that it is called with.
    pub(in crate::http) headers: &'a HeaderMap,
    /// The whole body.
    pub(in crate::http) body: Bytes,
}

impl Trial<'_> {
    /// The answer that the customer would have got.
    pub(in crate::http) async fn answer(self, worker: &Worker, version: Version) -> Response<BoxBody> {
        let at = Instant::now();
        let Self { key, route, headers, body } = self;
        let (id, reply) = match random::uuid() {
            Err(_) => (Uuid::nil(), Problem::no_random().into_reply()),
            Ok(id) => {
                let answered = async {
                    let key = may_call(Some(key))?;
                    let room = admit_body(&worker.gateway, &key, &body).await?;
                    let arrived = Arrived { id: id.as_u128(), key, route, at };
                    let passed_on = headers::passed_on(headers);
                    metered(worker, Call { arrived, body, room, passed_on }).await
                };
                (id, told(answered.await, id, route.path(), at))
            }
        };
        reply.into_response(id, version, Payload::None).map_into_boxed_body()
    }
}
