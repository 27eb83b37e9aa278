//! A mail server with prepared answers, for tests.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use crate::config::{MailSecurity, MailServer, Smtp};

/// A server's answers in one session, to the recipient and to the content. If one is empty, it hangs up instead.
pub(super) type Answers = (&'static str, &'static str);

/// Starts a server for as many sessions as there are answers. Returns the settings of mails to it, and a thread that
/// returns all contents.
pub(super) fn serve(sessions: Vec<Answers>) -> (Smtp, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        sessions.into_iter().filter_map(|answers| session(listener.accept().unwrap().0, answers)).collect()
    });
    let server_settings =
        MailServer { security: MailSecurity::None, host: "127.0.0.1".to_owned(), port, credentials: None };
    let (from, to) = ("from@a.example".parse().unwrap(), vec!["to@a.example".parse().unwrap()]);
    (Smtp { server: server_settings, from, to }, server)
}

/// Serves one session. Returns the content, if it came.
fn session(mut stream: TcpStream, (recipient, content): Answers) -> Option<String> {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut received = None;
    stream.write_all(b"220 hello\r\n").unwrap();
    while let Some(line) = lines.next() {
        let answer = match &line[..4] {
            "RCPT" => recipient,
            "DATA" => {
                stream.write_all(b"354 go on\r\n").unwrap();
                received = Some(lines.by_ref().take_while(|line| line != ".").collect::<Vec<_>>().join("\n"));
                content
            }
            _ => "250 ok",
        };
        if answer.is_empty() {
            break;
        }
        stream.write_all(format!("{answer}\r\n").as_bytes()).unwrap();
    }
    received
}
