//! The state that a connection shares with the requests on it.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_http::{
    ConnectionType, Request, Response,
    body::{BodySize, MessageBody},
};
use bytes::Bytes;
use tokio::time::Instant;

use super::framing::Fault;

/// The state of one connection. Requests have it as an `Rc<Activity>` in their connection data.
pub(in crate::http) struct Activity {
    /// Whether the head of a request has been passed on and its response has not ended.
    is_answering: Cell<bool>,
    /// Whether all of that request has been passed on.
    is_complete: Cell<bool>,
    /// Whether the connection ends with that request, so that no further one is read.
    is_last: Cell<bool>,
    /// When the connection began or the latest response ended.
    idle_since: Cell<Instant>,
    /// Why the rest of the request cannot be read.
    fault: Cell<Option<Fault>>,
    is_cut: Cell<bool>,
    is_displaced: Cell<bool>,
    /// The task that reads the connection, and whether it waits for the end of the response.
    reader: RefCell<Option<Waker>>,
    awaits_end: Cell<bool>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            is_answering: Cell::new(false),
            is_complete: Cell::new(false),
            is_last: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            fault: Cell::new(None),
            is_cut: Cell::new(false),
            is_displaced: Cell::new(false),
            reader: RefCell::new(None),
            awaits_end: Cell::new(false),
        }
    }

    /// Notes that the head of a request is passed on. `is_last` is true if no other request may follow it.
    pub(super) fn begin_answer(&self, is_last: bool) {
        self.is_answering.set(true);
        self.is_displaced.set(false);
        self.is_last.set(is_last);
    }

    /// Notes that a part of the request is passed on; `is_complete` says whether it includes the last byte.
    pub(super) fn set_complete(&self, is_complete: bool) {
        self.is_complete.set(is_complete);
    }

    pub(super) fn is_answering(&self) -> bool {
        self.is_answering.get()
    }

    pub(super) fn is_last(&self) -> bool {
        self.is_last.get()
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.fault.set(Some(fault));
    }

    /// The fault because of which the rest of the current request cannot be read, if there is one.
    pub(in crate::http) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Ends the connection immediately, even if the client does not read.
    pub(in crate::http) fn cut(&self) {
        self.is_cut.set(true);
        self.wake();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Ends the connection to make room for another, unless bytes of a new request have arrived and are still unread.
    pub(super) fn displace(&self) {
        self.is_displaced.set(true);
        self.wake();
    }

    pub(super) fn is_displaced(&self) -> bool {
        self.is_displaced.get()
    }

    /// Registers the waiting reader. If it `has_more` bytes, it is woken when the response has ended and the next
    /// request may begin.
    pub(super) fn wait(&self, cx: &Context<'_>, has_more: bool) {
        self.awaits_end.set(has_more);
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    /// Wakes the reader after a response has ended or has been written, if the reader has something to do.
    pub(super) fn wake_at_end(&self) {
        if self.awaits_end.take() || self.is_last() {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(reader) = &*self.reader.borrow() {
            reader.wake_by_ref();
        }
    }
}

/// A guard for a request that is being answered. Until it is dropped, no byte of the next request is passed on.
pub(in crate::http) struct AnswerGuard {
    connection: Option<Rc<Activity>>,
    /// Whether the connection ends with this request. It does unless a response keeps it alive.
    is_last: bool,
}

impl AnswerGuard {
    pub(in crate::http) fn begin(request: &Request) -> Self {
        let connection = request.conn_data::<Rc<Activity>>().cloned();
        if let Some(connection) = &connection
            && request.head().connection_type() != ConnectionType::KeepAlive
        {
            connection.is_last.set(true);
        }
        Self { connection, is_last: true }
    }

    /// The fault because of which the rest of the request cannot be read, if there is one.
    pub(in crate::http) fn fault(&self) -> Option<Fault> {
        self.connection.as_ref()?.fault()
    }

    /// Ties this guard to the body of the response, so the request counts as being answered until the body ends. The
    /// connection is closed after the response if the request was not read completely, or if the body `is_broken` at
    /// its end.
    pub(in crate::http) fn until_end_of<B>(
        mut self,
        mut answer: Response<B>,
        is_broken: fn(&B) -> bool,
    ) -> Response<Answered<B>> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_complete.get()) {
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        self.is_last = !answer.head().keep_alive();
        answer.map_body(|_, body| Answered { body, is_broken, answering: self })
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.is_answering.set(false);
            connection.is_last.set(connection.is_last() || self.is_last);
            connection.idle_since.set(Instant::now());
            connection.wake_at_end();
        }
    }
}

/// The body of a response, with the guard of its request.
pub(in crate::http) struct Answered<B> {
    body: B,
    is_broken: fn(&B) -> bool,
    answering: AnswerGuard,
}

impl<B: MessageBody + Unpin> MessageBody for Answered<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.body).poll_next(cx);
        if let Poll::Ready(None) = next {
            this.answering.is_last |= (this.is_broken)(&this.body);
        }
        next
    }
}
