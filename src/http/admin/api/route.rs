//! The routes of the admin API as values, from which routing and the specification are made.

use actix_web::{FromRequest, Handler, Responder, guard, http::Method, web};

use super::describe::{Arguments, Describe, Operation, Schemas};
use crate::http::admin::error::AdminError;

/// A group of related routes, which becomes a tag of the specification.
pub(in crate::http) struct Section {
    pub(in crate::http) name: &'static str,
    /// The description of the tag: one sentence.
    pub(in crate::http) about: &'static str,
    pub(in crate::http) entries: Vec<Entry>,
}

/// One method on one path.
pub(in crate::http) struct Entry {
    pub(in crate::http) method: Method,
    /// The path, in the syntax that OpenAPI and actix share.
    pub(in crate::http) path: &'static str,
    /// The name of the operation in generated clients. It must never change.
    pub(in crate::http) operation_id: &'static str,
    /// A short summary of the operation.
    pub(in crate::http) summary: &'static str,
    /// Describes the operation from its handler's signature.
    pub(in crate::http) describe: fn(&mut Operation, &mut Schemas),
    route: actix_web::Route,
}

/// Makes a section.
pub(in crate::http) fn section(name: &'static str, about: &'static str, entries: Vec<Entry>) -> Section {
    Section { name, about, entries }
}

/// Makes a route from its handler.
pub(in crate::http) fn entry<F, A>(
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
    // A GET route also answers HEAD.
    let guard = match method {
        Method::GET => guard::Any(guard::Get()).or(guard::Head()),
        _ => guard::Any(guard::Method(method.clone())),
    };
    Entry { method, path, operation_id, summary, describe, route: web::route().guard(guard).to(handler) }
}

/// Mounts the table. Each path accepts its own methods and answers all others with a 405.
pub(in crate::http) fn mount(table: Vec<Section>, services: &mut web::ServiceConfig) {
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

/// The route that answers all other methods of a path with a 405 that lists these.
pub(in crate::http) fn only(methods: Vec<Method>) -> actix_web::Route {
    web::to(move || std::future::ready(Err::<String, _>(AdminError::WrongMethod(methods.clone()))))
}
