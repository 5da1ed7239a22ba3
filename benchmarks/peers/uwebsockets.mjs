// Publish and subscribe of uWebSockets.js:
// https://github.com/uNetworking/uWebSockets.js/blob/master/examples/PubSub.js
//     node uwebsockets.mjs PORT
import uWS from "@trufflesuite/uws-js-unofficial";

const app = uWS.App();
const decoder = new TextDecoder();

app.ws("/*", {
  open: (socket) => socket.subscribe("room"),
  message: (socket, data) => {
    const message = JSON.parse(decoder.decode(data));
    const text = JSON.stringify(message);
    if (message.type === "ping") socket.send(text);
    else app.publish("room", text);
  },
});

app.listen("127.0.0.1", Number(process.argv[2]), (socket) => {
  if (!socket) process.exit(1);
});
