// A receiver of webhooks. It answers every delivery with `status`, which a test may change at any time.

import { once } from "node:events";
import { createServer } from "node:http";

export class Receiver {
  static async start(status = 200) {
    const receiver = new Receiver();
    receiver.status = status;
    receiver.deliveries = [];
    receiver.server = createServer(async (request, answer) => {
      let body = "";
      for await (const piece of request) body += piece;
      receiver.deliveries.push({ headers: request.headers, body: JSON.parse(body) });
      answer.writeHead(receiver.status).end();
    });
    receiver.server.listen(0, "127.0.0.1");
    await once(receiver.server, "listening");
    receiver.url = `http://127.0.0.1:${receiver.server.address().port}/usage`;
    return receiver;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}
