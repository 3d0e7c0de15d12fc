"""A thermostat on Python's http.server: GET /state, PUT /target, basic authentication."""
import base64
import http.server
import json
import sys

state = {"temperature": 21.5, "target": 20.0, "text": "gr\u00fcn"}
allowed = "Basic " + base64.b64encode(b"me:secret word").decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.headers.get("Authorization") != allowed:
            self.answer(401, "who are you?")
        elif self.path == "/state":
            self.answer(200, state)
        else:
            self.answer(404, "no such page")

    def do_PUT(self):
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not 5 <= value["target"] <= 30:
            self.answer(422, "out of range")
            return
        state["target"] = value["target"]
        self.answer(200, {"now": state})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
