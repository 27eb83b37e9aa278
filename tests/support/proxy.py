"""A reverse proxy of the worst kind: it sends the requests of different customers over one connection, one behind the
other without waiting, and hands the answers out in the order of the requests."""

from .wire import Broken, Connection


class SharingProxy:
    """A test is its parser: it forwards what the test takes for one request."""

    def __init__(self, address):
        self.connection = Connection(address)
        self.forwarded = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def forward(self, request):
        """Sends a request on; its place in the order is its customer's, who gets the answer at that place."""
        try:
            self.connection.send(request)
        except ConnectionError:
            pass  # the answers that came until then are still there to be read
        place, self.forwarded = self.forwarded, self.forwarded + 1
        return place

    def answers(self):
        """All answers until every request has one, or the connection ends."""
        answers = []
        try:
            while len(answers) < self.forwarded:
                answers.append(self.connection.read_answer())
        except Broken:
            pass
        return answers
