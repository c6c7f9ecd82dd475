"""A small application: reads DATABASE_URL from its .env when it starts, and answers from that database.

app.py serve DIR     on the port in DIR/port (chosen the first time)
app.py restart DIR   ends the one that runs and starts another; returns when it answers
app.py check DIR     its own checks: exit code 0 if it serves users from the database in .env
"""

import http.server
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import urllib.request


def database_url(directory):
    for line in (directory / ".env").read_text().splitlines():
        if line.startswith("DATABASE_URL="):
            return line.split("=", 1)[1].strip("\"'")
    raise SystemExit("no DATABASE_URL in .env")


def ask(url, sql):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def serve(directory):
    url = database_url(directory)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                body, status = "users " + ask(url, "select count(*) from users") + " on " + url.split("@")[1].split("/")[0], 200
            except Exception as error:
                body, status = str(error), 503
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    port_file = directory / "port"
    # It comes back on the port that it had: one that the system gives to nobody meanwhile, as it does with those above 32767.
    ports = [int(port_file.read_text())] if port_file.exists() else random.sample(range(15000, 32000), 100)
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    server = None
    for port in ports:
        try:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
            break
        except OSError as error:
            print(port, error, file=sys.stderr)
    port_file.write_text(str(server.server_address[1]))
    (directory / "pid").write_text(str(os.getpid()))
    server.serve_forever()


def restart(directory):
    pid_file = directory / "pid"
    if pid_file.exists():
        try:
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass
        pid_file.unlink()
    log = open(directory / "app.log", "ab")
    subprocess.Popen([sys.executable, __file__, "serve", str(directory)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    for _ in range(2400):
        if pid_file.exists():
            try:
                with urllib.request.urlopen("http://127.0.0.1:" + (directory / "port").read_text() + "/health", timeout=60):
                    return
            except urllib.error.HTTPError:
                return
            except OSError:
                pass
        time.sleep(0.05)
    raise SystemExit("the application does not answer")


def check(directory):
    with urllib.request.urlopen("http://127.0.0.1:" + (directory / "port").read_text() + "/health", timeout=60) as answer:
        text = answer.read().decode()
    host = database_url(directory).split("@")[1].split("/")[0]
    if not text.endswith(" on " + host):
        raise SystemExit("it is on another database: " + text)
    if text.startswith("users 0 "):
        raise SystemExit("it has no users")
    print(text)


if __name__ == "__main__":
    {"serve": serve, "restart": restart, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
