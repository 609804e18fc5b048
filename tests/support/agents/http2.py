"""A client of HTTP/2 that sends the headers of a test as they are."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import h2.settings

_WINDOW = 1 << 24


class Http2:
    """A client of HTTP/2 without the checks of a usual one, for a `with` block.

    `lengths` are those of the frames with the body of the answer, and `received` are all bytes.
    """

    def __init__(self, door, target):
        self._connection = door.tunnel(target, protocols=("h2",))
        config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        self._h2.increment_flow_control_window(_WINDOW)  # an answer is not cut where the window ends
        self.lengths, self.received = [], b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()

    def ask(self, headers, *parts, trailers=()):
        """Return the headers, the body and the trailers of the answer as text; empty if the stream is reset."""
        self._h2.send_headers(1, headers, end_stream=not parts and not trailers)
        for at, part in enumerate(parts):
            self._h2.send_data(1, part, end_stream=at == len(parts) - 1 and not trailers)
        if trailers:
            self._h2.send_headers(1, trailers, end_stream=True)
        self._connection.sendall(self._h2.data_to_send())
        answer = []
        while data := self._connection.recv(65536):
            self.received += data
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated | h2.events.StreamEnded):
                    return "\n".join(answer)
                if isinstance(event, h2.events.DataReceived):
                    answer.append(event.data.decode())
                    self.lengths.append(len(event.data))
                elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    answer.append(str(event.headers))
            self._connection.sendall(self._h2.data_to_send())
        return "\n".join(answer)


def http2_head(authority, key, *more, path="/", method="GET"):
    """Return the head of a request with a key."""
    first = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
    return [*first, ("authorization", key), *more]
