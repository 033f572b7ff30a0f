"""What is asked about events, deployment clients and inputs."""

from typing import Annotated, Final

from pydantic import Field, StringConstraints, model_validator

from backend.workloads.splunk.matching.entries import Client
from backend.workloads.splunk.matching.props import Event
from backend.workloads.splunk.resolution.context import ContextKind
from backend.workloads.splunk.resolution.schemas import ContextIn, Name, Question

MOST_CLIENTS: Final = 500
MOST_DEPLOYED: Final = 200

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
ClientName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class InstanceIn(ContextIn):
    """Whose configuration it is.

    ``deployed`` names apps of the deployment server: it is then that of a client which has them
    and nothing else.
    """

    deployed: list[Name] = Field([], max_length=MOST_DEPLOYED)

    @model_validator(mode="after")
    def _one_instance(self) -> "InstanceIn":
        if self.deployed and self.context is not ContextKind.GLOBAL:
            raise ValueError("deployed apps are resolved in the global context")
        return self


class MatchIn(InstanceIn, Question):
    """An event; what is left out is not known."""

    source: Text | None = None
    host: Text | None = None
    sourcetype: Text | None = None

    @property
    def event(self) -> Event:
        return Event(self.source, self.host, self.sourcetype)


class RoutesIn(InstanceIn):
    """An input; ``source`` and ``host`` are of one of its events, where the caller knows them."""

    stanza: Name
    source: Text | None = None
    host: Text | None = None

    @property
    def event(self) -> Event:
        return Event(self.source, self.host)


class HostIn(Question):
    """A deployment client, as far as it is known.

    ``name`` is its host name; lists are compared with each of its names and addresses.
    """

    name: ClientName
    client_name: ClientName | None = None
    ip: ClientName | None = None
    dns_name: ClientName | None = None
    instance_id: ClientName | None = None
    machine_type: ClientName | None = None
    package_type: ClientName | None = None
    updater_running: bool | None = None

    def client(self) -> Client:
        names = (self.client_name, self.ip, self.dns_name, self.name, self.instance_id)
        return Client(
            self.name, tuple(filter(None, names)), self.machine_type, self.package_type,
            self.updater_running,
        )  # fmt: skip


class ClientsIn(Question):
    """``files``: the content of files that lists name, by their path as it is written there."""

    hosts: list[HostIn | ClientName] = Field(min_length=1, max_length=MOST_CLIENTS)
    files: dict[Text, str] = Field({}, max_length=100)
    explain: bool = False

    @property
    def clients(self) -> list[Client]:
        asked = (HostIn(name=one) if isinstance(one, str) else one for one in self.hosts)
        return [one.client() for one in asked]
