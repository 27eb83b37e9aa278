//! Recognizes a server's answer to a route that it does not have.
//!
//! A 404 can also be about something that the request names: a model, a stored response, a file. Its message, code or
//! parameter then says so. The answer to an unknown route is an empty body, a page, or a message whose first sentence
//! consists of [`WORDS`], paths and numbers.

/// The words of these messages and codes, in lower case.
const WORDS: &str = "a allowed api available backend be cannot could default does endpoint error exist file for found \
                     given handler http invalid is matched matches method no not notfound nothing of on or page path post \
                     request requested resource route server static such supported that the there this those to \
                     unexpected unknown unrecognized uri url values was with";

/// Whether a 404 or 405 with this message, these codes and this parameter is about the route.
pub(super) fn is_about_route(message: &str, codes: &[String], param: Option<&str>) -> bool {
    let sentence = message.split(". ").next().unwrap_or_default();
    let names_model = message.split_whitespace().any(|word| !word.contains('/') && lower(word).contains("model"));
    let code_words = codes.iter().flat_map(|code| code.split(['_', '-', '.', ' ']));
    !names_model && param.is_none_or(str::is_empty) && sentence.split_whitespace().chain(code_words).all(is_known)
}

/// Whether a word is one of [`WORDS`], a path or a number.
fn is_known(word: &str) -> bool {
    let bare = lower(word.trim_matches(|c: char| !c.is_alphanumeric()));
    word.contains('/') || bare.bytes().all(|byte| byte.is_ascii_digit()) || WORDS.split(' ').any(|known| known == bare)
}

fn lower(word: &str) -> String {
    word.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::refusal::body::Body;

    fn is_route(body: &str) -> bool {
        let Body { message, codes, param, .. } = Body::read(body.as_bytes());
        is_about_route(&message, &codes, param.as_deref())
    }

    #[test]
    fn an_unknown_route_is_recognized_on_every_server() {
        for body in [
            "",
            "[]",
            "<html><body>Cannot POST /v1/responses</body></html>",
            "404 page not found",
            "Not Found",
            "default backend - 404",
            r#"{"detail":"Not Found"}"#,
            r#"{"detail":"Method Not Allowed"}"#,
            r#"{"error":{"message":"Not Found","type":"NotFoundError","param":null,"code":404}}"#,
            r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#,
            r#"{"type":"error","error":{"type":"not_found_error","message":"Not Found"},"request_id":"req_1"}"#,
            r#"{"type":"error","error":{"type":"not_found_error","message":"Not found: /v1/rerank"}}"#,
            r#"{"error":{"message":"Invalid URL (POST /v1/models/x)","type":"invalid_request_error","code":null}}"#,
            r#"{"error":{"message":"Not allowed to POST on /v1/x. (HINT: Perhaps you meant to use a different HTTP method?)"}}"#,
            r#"{"error":{"message":"Unknown request URL: POST /v1/x. Please check the URL.","code":"unknown_url"}}"#,
            r#"{"error":{"code":"404","message":"Resource not found"}}"#,
            r#"{"message":"Route POST:/model/v1/rerank not found","error":"Not Found","statusCode":404}"#,
            r#"{"message":"no Route matched with those values"}"#,
            r#"{"error":"Unexpected endpoint or method. (POST /v1/rerank)"}"#,
            r#"{"status":404,"error":"Not Found","path":"/models/v1/rerank"}"#,
        ] {
            assert!(is_route(body), "{body}");
        }
    }

    #[test]
    fn a_404_about_something_in_the_request_is_not_about_the_route() {
        for body in [
            r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}"#,
            r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error"}}"#,
            r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#,
            r#"{"error":{"code":"model_not_found"}}"#,
            r#"{"error":{"message":"Not found","param":"model"}}"#,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#,
            r#"{"error":{"message":"This is a chat model and not supported in the v1/completions endpoint.","param":"model"}}"#,
            r#"{"error":"Not found. Is the model loaded?"}"#,
            r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
            r#"{"error":{"message":"Response with id 'resp_1' not found.","code":404}}"#,
            r#"{"type":"error","error":{"type":"not_found_error","message":"File not found: file_1"}}"#,
            r#"{"error":{"message":"No endpoints found that support tool use","code":404}}"#,
            "the lora adapter 'x' cannot be found",
        ] {
            assert!(!is_route(body), "{body}");
        }
    }
}
