// The application model with Node's own http module as server and client.
'use strict';
const http = require('http');
const { parseArgs } = require('util');

const { values } = parseArgs({
  options: {
    listen: { type: 'string' },
    first: { type: 'string' },
    second: { type: 'string' },
    pool: { type: 'string' },
    pass: { type: 'string' },
  },
});
// Per host.
const limit = Number(values.pool) || Infinity;
const agent = new http.Agent({ keepAlive: true, maxSockets: limit, maxFreeSockets: 1024 });

function get(host, call, token, headers) {
  return new Promise((resolve, reject) => {
    const [hostname, port] = host.split(':');
    const request = http.get({ agent, hostname, port, path: `/${call}/${token}`, headers }, (answer) => {
      answer.on('error', reject);
      answer.on('end', resolve);
      answer.resume();
    });
    request.on('error', reject);
  });
}

// 50 to 100 microseconds.
function compute() {
  const end = performance.now() + 0.05 + Math.random() * 0.05;
  while (performance.now() < end);
}

async function work(request) {
  const token = request.url.split('/')[2];
  const passed = values.pass && request.headers[values.pass];
  const headers = passed ? { [values.pass]: passed } : {};
  await get(values.first, 'a', token, headers);
  compute();
  await get(values.second, 'b', token, headers);
  await Promise.all([get(values.first, 'c', token, headers), get(values.second, 'd', token, headers)]);
}

const server = http.createServer(async (request, response) => {
  try {
    await work(request);
    response.end('work\n');
  } catch (error) {
    console.error(error);
    response.writeHead(502).end();
  }
});
server.keepAliveTimeout = 600_000;
server.requestTimeout = 0;
const [host, port] = values.listen.split(':');
server.listen(Number(port), host, 1024, () => console.log('listening'));
