"""What can go wrong while Tertulia is set up or started.

ConsoleError
├── BadSetting          an environment variable has a value that cannot be used; the message names it
├── PostgresTrouble     the embedded server cannot be made, started or reached; the message says what to do
├── CannotListen        the web server cannot open its port or begin its life
└── BackupTrouble       a backup cannot be made or brought back; nothing has changed
"""


class ConsoleError(Exception):
    """The root of this room's errors. The message is one sentence for the person at the terminal."""


class BadSetting(ConsoleError):
    pass


class PostgresTrouble(ConsoleError):
    pass


class CannotListen(ConsoleError):
    pass


class BackupTrouble(ConsoleError):
    pass
