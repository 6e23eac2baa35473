"""A small web site that counts how often it is asked; /moved redirects to it."""
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread


class Web:
    def __init__(self, cache_control):
        web = self
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/moved":
                    self.send_response(302)
                    self.send_header("Location", "/")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                web.asked += 1
                body = f"answer {web.asked}".encode()
                self.send_response(200)
                self.send_header("Cache-Control", cache_control)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
