// The application whose tracing is compared: answers every path with a small JSON document. Argument: the port.
const express = require('express');

const app = express();
app.get('/items', (request, response) => response.json({ id: 7, name: 'lamp' }));
const server = app.listen(Number(process.argv[2]), '127.0.0.1');
// Connections stay open as long as the client wants.
server.keepAliveTimeout = 600_000;
