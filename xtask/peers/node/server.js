// The application whose tracing is compared: answers every path with a small JSON document. Argument: the port.
const express = require('express');

const app = express();
app.get('/items', (request, response) => response.json({ id: 7, name: 'lamp' }));
const server = app.listen(Number(process.argv[2]), '127.0.0.1');
// Connections stay open as long as the client wants.
server.keepAliveTimeout = 600_000;
// Ends by itself when nothing is left to do, so that spans that wait are still sent.
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
});
