//! The pickle opcodes that occur, by Python's names (`pickletools`).

macro_rules! opcodes {
    ($($name:ident = $byte:literal),* $(,)?) => { $(pub(super) const $name: u8 = $byte;)* };
}

opcodes! {
    MARK = b'(', STOP = b'.', POP = b'0', POP_MARK = b'1', PROTO = 0x80, FRAME = 0x95,
    NONE = b'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
    BININT = b'J', BININT1 = b'K', BININT2 = b'M', LONG1 = 0x8a, LONG4 = 0x8b, BINFLOAT = b'G',
    BINUNICODE = b'X', SHORT_BINUNICODE = 0x8c, BINUNICODE8 = 0x8d,
    BINSTRING = b'T', SHORT_BINSTRING = b'U',
    BINBYTES = b'B', SHORT_BINBYTES = b'C', BINBYTES8 = 0x8e, BYTEARRAY8 = 0x96,
    EMPTY_TUPLE = b')', TUPLE = b't', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
    EMPTY_LIST = b']', LIST = b'l', APPEND = b'a', APPENDS = b'e',
    EMPTY_DICT = b'}', DICT = b'd', SETITEM = b's', SETITEMS = b'u',
    EMPTY_SET = 0x8f, ADDITEMS = 0x90, FROZENSET = 0x91,
    BINGET = b'h', LONG_BINGET = b'j', BINPUT = b'q', LONG_BINPUT = b'r', MEMOIZE = 0x94,
    GLOBAL = b'c', STACK_GLOBAL = 0x93, REDUCE = b'R', BUILD = b'b', NEWOBJ = 0x81, NEWOBJ_EX = 0x92,
    BINPERSID = b'Q',
}
