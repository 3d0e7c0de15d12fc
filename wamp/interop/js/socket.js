// What a browser has and Node has not, in the form that the libraries expect.
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import WebSocket from "ws";

// certificates are the options of a connection: whom to trust, and who one is.
function certificates({ ca, auth }) {
  const files = { ca, cert: auth?.cert, key: auth?.key };
  return Object.fromEntries(Object.entries(files).flatMap(([name, file]) => (file ? [[name, readFileSync(file)]] : [])));
}

// webSocket returns a class WebSocket for one join.
export function webSocket(join) {
  const options = certificates(join);
  return class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, options);
    }
  };
}

// httpRequest returns a class XMLHttpRequest for one join, with as much of it as
// AutobahnJS uses. Messages are sent one after the other, as a browser does with
// luck: AutobahnJS does not wait for one before it sends the next.
export function httpRequest(join) {
  const options = certificates(join);
  const client = new URL(join.url).protocol === "lps:" ? https : http;
  const agents = [new client.Agent({ keepAlive: true, maxSockets: 1 }), new client.Agent({ keepAlive: true })];
  return class {
    readyState = 0;
    headers = {};
    open(method, url) {
      Object.assign(this, { method, url });
    }
    setRequestHeader(name, value) {
      this.headers[name] = value;
    }
    send(body) {
      const agent = agents[this.url.endsWith("/send") ? 0 : 1];
      const finish = (status, statusText, responseText) => {
        // What the router has ended already is closed as well. AutobahnJS would never
        // tell of the end: it ignores that a request to close has failed.
        if (this.url.endsWith("/close")) status = 204;
        Object.assign(this, { readyState: 4, status, statusText, responseText });
        this.onreadystatechange();
      };
      const request = client.request(this.url, { ...options, agent, method: this.method, headers: this.headers }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => finish(response.statusCode, response.statusMessage, Buffer.concat(chunks).toString()));
      });
      request.on("error", (e) => finish(0, e.message, ""));
      request.end(body ?? "");
    }
  };
}
