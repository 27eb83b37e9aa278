"""A real mail server (aiosmtpd) that keeps the mails it gets. It may encrypt, ask for a login, refuse, and be down."""

import asyncio
import email
import email.policy
import socket
import threading
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

from . import wire


class Mail:
    """A mail as it came: the recipients and whether the session was encrypted, the headers and the text."""

    def __init__(self, is_encrypted, envelope):
        self.sender, self.recipients = envelope.mail_from, envelope.rcpt_tos
        self.encrypted = is_encrypted
        self.raw = envelope.content
        self.message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.subject = self.message["Subject"]
        self.text = self.message.get_content().replace("\r\n", "\n")

    def __repr__(self):
        return f"<{self.subject}>"


class MailServer:
    """Runs until `stop`. `tls` encrypts from the first byte, `starttls` on request, `login` is a (user, password)."""

    def __init__(self, tls=None, starttls=None, login=None, up=True):
        self.tls, self.starttls, self.login = tls, starttls, login
        self.mails, self.logins = [], []
        self.refused = {}  # recipient → the answer to it
        self.answer = "250 taken"  # to a mail
        self.before_answer = lambda: None  # called when a mail has been taken
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.server = None
        self.reserve(("127.0.0.1", 0))
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        if up:
            self.up()

    def reserve(self, address):
        """Binds the port without listening, so that connections are refused and no one else gets it."""
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        self.address = self.socket.getsockname()
        self.port = self.address[1]

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(wire.DEADLINE)

    def up(self):
        self.server = self.run(self.loop.create_server(self.session, sock=self.socket, ssl=self.tls))

    def down(self):
        async def close():
            self.server.close()

        self.run(close())
        self.server = None
        self.reserve(self.address)

    def stop(self):
        if self.server:
            self.down()
        self.socket.close()
        self.run(self.end_sessions())
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def end_sessions(self):
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    def session(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about logins that are not encrypted
            return SMTP(
                self,
                loop=self.loop,
                tls_context=self.starttls,
                require_starttls=self.starttls is not None,
                auth_required=self.login is not None,
                auth_require_tls=False,
                authenticator=self.authenticate,
            )

    @staticmethod
    def is_encrypted(server):
        return server.transport.get_extra_info("ssl_object") is not None

    def authenticate(self, server, session, envelope, mechanism, data):
        login = (data.login.decode(), data.password.decode())
        self.logins.append((login, self.is_encrypted(server)))
        if login == self.login:
            return AuthResult(success=True)
        # Some servers repeat what they got.
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 no login with {login[1]}")

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = self.answer
        if answer.startswith("250"):
            self.before_answer()
            with self.changed:
                self.mails.append(Mail(self.is_encrypted(server), envelope))
                self.changed.notify_all()
        return answer

    def url(self, scheme="smtp", host="127.0.0.1", login=None):
        return f"{scheme}://{login + '@' if login else ''}{host}:{self.port}"

    def wait(self, count):
        """Waits until there are `count` mails; returns them and expects no more."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.mails) >= count, wire.DEADLINE)
        assert len(self.mails) == count, self.mails
        return self.mails
