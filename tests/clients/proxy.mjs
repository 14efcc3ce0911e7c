// A TCP proxy to lose connections with: it can cut all of them and refuse new ones until it is told to come back.
import { once } from "node:events";
import net from "node:net";
import { pipeline } from "node:stream";

export async function startProxy({ hostname, port }) {
  const sockets = new Set();
  let refuse = null;
  const server = net.createServer((client) => {
    if (refuse) {
      client.resetAndDestroy();
      refuse();
      return;
    }
    const upstream = net.connect(port, hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    }
    pipeline(client, upstream, client, () => [client, upstream].forEach((socket) => socket.destroy()));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");

  /** Cuts everything; the promise is kept once somebody has tried to come back and was refused. */
  const cut = () => {
    const refused = new Promise((resolve) => (refuse = resolve));
    sockets.forEach((socket) => socket.resetAndDestroy());
    return refused;
  };
  const comeBack = () => (refuse = null);
  const stop = () => {
    cut();
    server.close();
  };
  return { port: server.address().port, cut, comeBack, stop };
}
