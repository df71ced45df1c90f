"""One file per engine library, behind the interfaces of interfaces.py."""
