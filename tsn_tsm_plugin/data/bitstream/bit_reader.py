"""BitReader: read single bits and Exp-Golomb codes (ITU-T H.264, 9.1) from bytes."""


class BitReader:
    """Read bits from the left; bits past the end are zeros.

    Args:
        data: The bytes to read.
    """

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._num_bits = self._num_left = 8 * len(data)

    @property
    def num_read(self) -> int:
        """Number of bits read so far, including bits past the end."""
        return self._num_bits - self._num_left

    def bits(self, count: int) -> int:
        """Read an unsigned number of ``count`` bits."""
        self._num_left -= count
        shifted = self._value >> self._num_left if self._num_left >= 0 else self._value << -self._num_left
        return shifted & ((1 << count) - 1)

    def unsigned_golomb(self) -> int:
        """Read ue(v)."""
        num_zeros = 0
        while self._num_left > 0 and not self.bits(1):
            num_zeros += 1
        return (1 << num_zeros) - 1 + self.bits(num_zeros)

    def skip_golombs(self, count: int) -> None:
        """Skip ``count`` codes, ue(v) or se(v)."""
        for _ in range(count):
            self.unsigned_golomb()

    def signed_golomb(self) -> int:
        """Read se(v)."""
        code = self.unsigned_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def without_emulation_prevention(nal_unit: bytes) -> bytes:
    """Remove the 0x03 bytes that keep start codes out of a NAL unit (H.264 7.4.1, H.265 7.4.2)."""
    return nal_unit.replace(b"\0\0\3", b"\0\0")
