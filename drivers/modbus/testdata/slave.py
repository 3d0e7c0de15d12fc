"""A Modbus slave by Debian's python3-pymodbus:

    slave.py tcp HOST PORT [rtu] | rtu TTY

Units 1 and 7. Holding registers 0..99 = 1000+n, 10 and 11 = float32 21.5, 12 = -10;
input registers 0..99 = 2000+n; odd coils and discrete inputs are on."""
import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock as Block
from pymodbus.datastore import ModbusServerContext, ModbusSlaveContext
from pymodbus.device import ModbusDeviceIdentification
from pymodbus.framer.rtu_framer import ModbusRtuFramer
from pymodbus.framer.socket_framer import ModbusSocketFramer
from pymodbus.server import StartSerialServer, StartTcpServer


def unit():
    holding = [1000 + n for n in range(100)]
    holding[10:12] = struct.unpack(">HH", struct.pack(">f", 21.5))
    holding[12] = 0xFFF6
    odd = [n & 1 for n in range(100)]
    return ModbusSlaveContext(di=Block(0, odd), co=Block(0, list(odd)), hr=Block(0, holding),
                              ir=Block(0, [2000 + n for n in range(100)]), zero_mode=True)


context = ModbusServerContext(slaves={1: unit(), 7: unit()}, single=False)
identity = ModbusDeviceIdentification()
identity.VendorName, identity.ProductCode, identity.MajorMinorRevision = "Pymodbus", "PM", "3.0"
if sys.argv[1] == "tcp":
    framer = ModbusRtuFramer if sys.argv[4:] else ModbusSocketFramer
    StartTcpServer(context=context, identity=identity, address=(sys.argv[2], int(sys.argv[3])), framer=framer,
                   allow_reuse_address=True)
else:
    StartSerialServer(context=context, identity=identity, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=19200, timeout=0.1)
