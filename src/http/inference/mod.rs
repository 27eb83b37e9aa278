//! The inference listener: the OpenAI- and Anthropic-compatible API that customers call.
//!
//! It runs on actix-http, one layer below actix-web, because a few fixed paths need no routing table. Every response
//! carries our own `x-request-id`. Errors have the shape of the route's API. One response is not made here: the empty
//! 408 of actix-http for a head that arrives too slowly.

mod api;
mod body;
mod call;
mod cors;
mod error;
mod headers;
mod limit_refusal;
mod malformed;
mod models;
mod paths;
mod rate_limits;
mod reply;
mod routes;
mod suggestion;
mod trial;
mod usage;
mod wait;
mod worker;

use std::{convert::Infallible, net::TcpListener, rc::Rc, sync::Arc};

use actix_http::Request;
use actix_server::ServerBuilder;
use actix_service::fn_service;

use self::routes::{may_continue, respond};
use super::connection::{self, Serving};
use crate::service::Gateway;

pub(super) use self::{trial::Trial, worker::Worker};

/// Opens the inference listener.
pub fn listen(serving: Serving, listener: TcpListener, gateway: Arc<Gateway>) -> std::io::Result<ServerBuilder> {
    connection::listen(serving, "inference", listener, malformed::refuse, move || {
        let worker = Rc::new(Worker::start(gateway.clone()));
        let expecting = worker.clone();
        let answers = fn_service(move |request: Request| {
            let worker = worker.clone();
            async move { Ok::<_, Infallible>(respond(&worker, request).await) }
        });
        // If the body of a request with `Expect: 100-continue` would not be read, the request is answered immediately.
        let continues = fn_service(move |request: Request| {
            let worker = expecting.clone();
            async move {
                if may_continue(&worker.gateway, &request) {
                    return Ok(request);
                }
                Err(respond(&worker, request).await.map_into_boxed_body())
            }
        });
        (answers, continues)
    })
}
