"""Frames by hand are pamqp's."""

from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from ingestd.wire.amqp import Publishing

names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=100)


times = st.integers(1, 1 << 36)
exchanges = st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True)


@given(
    st.integers(1, 65535), exchanges, st.integers(0, 1023), names, times, st.binary(max_size=300), st.integers(1, 100)
)
def test_frames_are_those_of_the_library(channel, exchange, partition, message_id, time, body, max_body) -> None:
    publishing = Publishing(channel, exchange, "application/x", max_body)
    for _ in range(2):
        found = b"".join(publishing.frames(str(partition), message_id, time, body))
        properties = Basic.Properties(
            content_type="application/x",
            delivery_mode=2,
            message_id=message_id,
            timestamp=datetime.fromtimestamp(time, UTC),
        )
        frames = [
            Basic.Publish(exchange=exchange, routing_key=str(partition), mandatory=True),
            ContentHeader(body_size=len(body), properties=properties),
            *(ContentBody(body[at : at + max_body]) for at in range(0, len(body), max_body)),
        ]
        assert found == b"".join(pamqp.frame.marshal(frame, channel) for frame in frames)


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        Publishing(1, "x" * 256, "application/x", 100)
