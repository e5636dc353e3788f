"""Topic ids in names: base64url, whatever bits Kafka drew."""

import base64
import uuid

from confluent_kafka import Uuid
from hypothesis import given
from hypothesis import strategies as st

from thalweg.streams.admin import encode_topic_id


@given(st.uuids())
def test_an_id_is_its_sixteen_bytes_in_base64url(drawn: uuid.UUID) -> None:
    def signed(bits: int) -> int:
        return bits - (1 << 64) if bits >> 63 else bits

    topic_id = Uuid(signed(drawn.int >> 64), signed(drawn.int & (1 << 64) - 1))
    text = encode_topic_id(topic_id)
    assert base64.urlsafe_b64decode(text + "==") == drawn.bytes
    assert not set(text) & set("+/=")
