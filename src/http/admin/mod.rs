//! The admin listener: the management API and, at `/`, the web UI.
//!
//! * `table` declares every route of the API once. Routing and the specification are both made from it.
//! * `resources` has the JSON shapes and the handlers, a module for each resource. Handlers only translate between HTTP
//!   and the services. Rules that depend on stored data are in the services.
//! * `api` has the parts that all routes are made of. A handler's signature describes its route: who may call it
//!   (`api::operator`), its input (`api::path`, `api::query` and `api::body`, with values from `api::field`) and its
//!   response. A handler without a caller argument cannot be put into the table: that is a compile error.
//! * `error` maps errors to statuses. `assets` has the files of the web UI.

pub(crate) mod api;
mod assets;
pub(crate) mod error;
mod resources;
mod table;

pub(crate) use self::resources::normal;

use std::{io, net::TcpListener, sync::Arc};

use actix_http::{Request, Response, body::BoxBody, h1::ExpectHandler};
use actix_server::ServerBuilder;
use actix_service::{IntoServiceFactory, Service, apply_fn_factory, map_config};
use actix_web::{
    App, Error,
    dev::AppConfig,
    middleware::from_fn,
    web::{self, Data, ServiceConfig},
};

use self::{
    api::{envelope, route, spec},
    error::AdminError,
    resources::{live, playground},
};
use super::connection::{self, AnswerGuard, Serving};
use crate::service::Gateway;

/// Opens the admin listener.
pub fn listen(serving: Serving, listener: TcpListener, gateway: Arc<Gateway>) -> io::Result<ServerBuilder> {
    connection::listen(serving, "admin", listener, envelope::refuse, move || {
        let app = App::new().configure(routes(gateway.clone())).into_factory();
        // The default config has another host and port than this listener's, but nothing here uses them.
        let answers = apply_fn_factory(map_config(app, |()| AppConfig::default()), |request: Request, app| {
            let answering = AnswerGuard::begin(&request);
            let answer = app.call(request);
            async move { Ok::<_, Error>(answering.until_end_of(Response::<BoxBody>::from(answer.await?), |_| false)) }
        });
        (answers, ExpectHandler)
    })
}

/// Mounts all routes of the admin listener.
fn routes(gateway: Arc<Gateway>) -> impl FnOnce(&mut ServiceConfig) {
    move |services| {
        let table = table::table();
        let everything = web::scope("")
            .wrap(from_fn(envelope::envelope))
            .app_data(Data::from(gateway))
            .app_data(Data::new(spec::Spec::of(&table)))
            .app_data(Data::new(live::Viewers::default()))
            .app_data(playground::Playground::default())
            .configure(assets::mount)
            .configure(|services| route::mount(table, services))
            .default_service(web::to(no_route));
        services.service(everything);
    }
}

async fn no_route() -> Result<String, AdminError> {
    Err(AdminError::NoRoute)
}
