"""What `wandb sync` talks to, as far as it needs an answer. Prints its port, then each request as a line of JSON."""

import gzip
import hashlib
import http.server
import json
import threading

LOCK = threading.Lock()


def answer(operation, variables, port):
    if "UpsertBucket" in operation:
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "a team"}}
        bucket = {"id": "b", "name": variables.get("name"), "displayName": variables.get("displayName") or "a name"}
        bucket |= {"config": "{}", "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "CreateRunFiles" in operation:
        files = [{"name": f, "uploadUrl": f"http://127.0.0.1:{port}/put/{f}"} for f in variables.get("files", [])]
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
    if "ServerFeatures" in operation:
        return {"serverInfo": {"features": []}}
    if "Viewer" in operation:
        return {"viewer": {"id": "1", "entity": "a team", "username": "tester", "email": "", "flags": "{}"}}
    if "RunResumeStatus" in operation:
        return {"model": None}
    return {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def reply(self, request, content=None):
        with LOCK:
            print(json.dumps({"method": self.command, "path": self.path} | request), flush=True)
        body = json.dumps(content or {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply({})

    def do_PUT(self):
        self.reply({"sha256": hashlib.sha256(self.body()).hexdigest()})

    def do_POST(self):
        body = self.body()
        if self.path.endswith("/file_stream"):
            return self.reply({"body": json.loads(body)}, {"exitcode": None, "limits": {}})
        if self.path != "/graphql":
            return self.reply({})
        body = json.loads(body)
        operation = body.get("operationName") or body["query"].split("(")[0].split("{")[0].strip()
        variables = body.get("variables") or {}
        data = answer(operation, variables, self.server.server_port)
        self.reply({"operation": operation, "variables": variables}, {"data": data})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
