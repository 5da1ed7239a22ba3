// A room of Socket.IO: https://socket.io/docs/v4/rooms/
//     node socketio.mjs PORT
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"] });

io.on("connection", (socket) => {
  socket.join("room");
  socket.on("chat", (message) => io.to("room").emit("chat", message));
  socket.on("again", (message) => socket.emit("again", message));
});

http.listen(Number(process.argv[2]), "127.0.0.1");
