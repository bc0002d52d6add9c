"""LivePage, LiveWindow: show frames and scores of a stream in a browser or in a window."""

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from tsn_tsm_plugin.data.image import encode_image
from tsn_tsm_plugin.errors import ConfigError

_BOUNDARY = "frame"
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>tsn_tsm_plugin stream</title>
<style>body{font-family:sans-serif;margin:1em;background:#111;color:#eee}img{max-width:100%}
td{padding:.1em .6em}</style></head>
<body><img src="/stream.mjpg" alt="live picture"><h1 id="class"></h1><table id="scores"></table>
<p id="note"></p><script>
async function update(){
  try{
    const news=await (await fetch("/scores.json")).json();
    document.getElementById("class").textContent=news.class||"waiting for the first frame";
    const table=document.getElementById("scores");table.replaceChildren();
    for(const each of news.top||[]){
      const row=table.insertRow();row.insertCell().textContent=each.class;
      row.insertCell().textContent=(100*each.probability).toFixed(1)+" %";
    }
    document.getElementById("note").textContent=news.frame===undefined?"":"frame "+news.frame;
    setTimeout(update,200);
  }catch(error){document.getElementById("note").textContent="The stream has ended.";}
}
update();
</script></body></html>
"""


class LivePage:
    """A web page with the live picture and scores.

    Args:
        host: Address to listen on; 127.0.0.1 is reachable from this machine only.
        port: TCP port; 0 takes a free port.

    Attributes:
        url: Address of the page.
        scores: Scores of the last written frame.

    Raises:
        ConfigError: If the address is not available.
    """

    def __init__(self, host: str, port: int) -> None:
        self._changed = threading.Condition()
        self._jpeg = b""
        self._number = 0
        self.scores: dict[str, Any] = {}
        self._is_closed = False
        try:
            self._server = ThreadingHTTPServer((host, port), _handler_of(self))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot serve the page ({error.strerror}): give another --serve."
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def write(self, picture: np.ndarray, scores: dict[str, Any]) -> None:
        """Show a picture, uint8 RGB (H, W, 3), with the scores of its frame."""
        encoded = encode_image(Image.fromarray(picture), ".jpg", quality=80)
        with self._changed:
            self._jpeg, self.scores = encoded, scores
            self._number += 1
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """Yield parts of a multipart document, JPEG, from the newest; skip pictures if the client is slow."""
        seen = 0
        while True:
            with self._changed:
                while not self._is_closed and self._number == seen:
                    self._changed.wait()
                if self._is_closed:
                    return
                seen, jpeg = self._number, self._jpeg
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            yield head.encode() + jpeg + b"\r\n"

    def __enter__(self) -> "LivePage":
        return self

    def __exit__(self, *error: object) -> None:
        """Close the page and all connections."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_of(page: LivePage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Suppress the server's log: standard error is for reports about the stream."""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/":
                self._send("text/html; charset=utf-8", [_PAGE.encode()])
            elif path == "/scores.json":
                self._send("application/json", [json.dumps(page.scores).encode()])
            elif path == "/stream.mjpg":
                self._send(f"multipart/x-mixed-replace; boundary={_BOUNDARY}", page.pictures())
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _send(self, kind: str, parts: Iterable[bytes]) -> None:
            """Send the parts; the end of the connection is the end of the content."""
            with contextlib.suppress(ConnectionError):
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                for part in parts:
                    self.wfile.write(part)

    return Handler


class LiveWindow:
    """A window of the desktop with the live picture; closing it ends the stream.

    Args:
        title: Title of the window.

    Raises:
        ConfigError: If there is no display, or Python has no Tk.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise ConfigError(
                f"--show needs Tk ({error}): install python3-tk, or use --serve PORT."
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise ConfigError(f"--show needs a display ({error}): use --serve PORT.") from error
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._to_photo = ImageTk.PhotoImage
        self._is_open = True
        self._root.protocol("WM_DELETE_WINDOW", self._end)

    def _end(self) -> None:
        self._is_open = False

    def write(self, picture: np.ndarray, scores: dict[str, Any]) -> None:
        """Show a picture, uint8 RGB (H, W, 3), that already contains the drawn scores.

        Raises:
            KeyboardInterrupt: If the window has been closed.
        """
        if not self._is_open:
            raise KeyboardInterrupt
        self._photo = self._to_photo(Image.fromarray(picture))
        self._label.configure(image=self._photo)
        self._root.update()

    def __enter__(self) -> "LiveWindow":
        return self

    def __exit__(self, *error: object) -> None:
        self._root.destroy()
