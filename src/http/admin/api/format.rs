//! Answers that are available as JSON and as CSV.

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    web::Json,
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

use super::describe::{Describe, Operation, Schemas};

const CSV: &str = "text/csv";

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Format {
    Json,
    Csv,
}

impl Format {
    pub(in crate::http) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err("must be json or csv"),
        }
    }
}

/// An answer in one of its formats.
pub(in crate::http) enum Answer<T> {
    Json(T),
    Csv(CsvFile),
}

/// A CSV file to save.
pub(in crate::http) struct CsvFile {
    /// The name under which a browser saves it.
    pub(in crate::http) name: String,
    /// A header line, then the rows.
    pub(in crate::http) content: BoxBody,
    /// Whether it contains all requested rows. If not, the header `x-tollgate-incomplete` says so.
    pub(in crate::http) is_complete: bool,
}

impl<T: Serialize> Responder for Answer<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Json(content) => Json(content).respond_to(request).map_into_boxed_body(),
            Self::Csv(CsvFile { name, content, is_complete }) => {
                let mut response = HttpResponse::Ok();
                response.insert_header((CONTENT_TYPE, format!("{CSV}; charset=utf-8")));
                response.insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));
                if !is_complete {
                    response.insert_header(("x-tollgate-incomplete", "true"));
                }
                response.body(content)
            }
        }
    }
}

impl<T: JsonSchema> Describe for Answer<T> {
    fn describe(operation: &mut Operation, schemas: &mut Schemas) {
        Json::<T>::describe(operation, schemas);
        let description = "A header line, then one row per item.";
        operation.answers.push((CSV, json_schema!({ "type": "string", "description": description })));
    }
}
