// "Server broadcast" of ws's documentation: https://github.com/websockets/ws#server-broadcast
//     node ws.mjs PORT
import WebSocket, { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });

server.on("connection", (socket) => {
  socket.on("error", console.error);
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    const text = JSON.stringify(message);
    if (message.type === "ping") {
      socket.send(text);
      return;
    }
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(text);
    }
  });
});
