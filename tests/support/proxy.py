"""The riskiest kind of reverse proxy: it pipelines the requests of different customers over one connection and hands
out the answers in the order of the requests."""

from .wire import Broken, Connection


class SharingProxy:
    """Has no parser: it forwards what the test treats as one request."""

    def __init__(self, address):
        self.connection = Connection(address)
        self.forwarded = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def forward(self, request):
        """Forwards a request; returns its position, which is also the position of its customer's answer."""
        try:
            self.connection.send(request)
        except ConnectionError:
            pass  # the answers that arrived before can still be read
        place, self.forwarded = self.forwarded, self.forwarded + 1
        return place

    def answers(self):
        """Reads answers until every request has one or the connection ends."""
        answers = []
        try:
            while len(answers) < self.forwarded:
                answers.append(self.connection.read_answer())
        except Broken:
            pass
        return answers
