// npm's ws: `/all` gets what anyone there says, any other path an echo.
import { createRequire } from "node:module";
const { WebSocketServer } = createRequire(process.cwd() + "/")("ws");

const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: true });
const all = new Set();
server.on("connection", (ws, request) => {
  const isOne = request.url === "/all";
  if (isOne) all.add(ws);
  ws.on("message", (data, binary) => {
    for (const to of isOne ? all : [ws]) to.send(data, { binary });
  });
  ws.on("close", () => all.delete(ws));
});
server.on("listening", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
