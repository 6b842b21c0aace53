"""Things that tests need more than once. Everything is made by the product's own verbs."""

import itertools
from datetime import datetime

from accounts.keys import IssuedKey, issue_key
from accounts.models import Role, Team, User
from accounts.people import create_person
from accounts.teams import add_member, create_team

PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)


def make_person(name: str, *, email: str = "", is_operator: bool = False) -> User:
    email = email or f"{name.lower()}@example.org"
    return create_person(email=email, name=name, password=PASSWORD, is_operator=is_operator)


def make_team(name: str, *, owner: User, time_zone: str = "UTC") -> Team:
    return create_team(name=name, owner=owner, time_zone=time_zone)


def join(team: Team, user: User, role: Role = Role.MEMBER) -> None:
    add_member(team=team, user=user, role=role, by=None)


def make_key(
    team: Team,
    *,
    name: str = "",
    owner: User | None = None,
    models: list[str] | None = None,
    expires_at: datetime | None = None,
    dialect: str = "",
) -> IssuedKey:
    name = name or f"key-{next(_numbers)}"
    return issue_key(team=team, name=name, by=None, owner=owner, models=models, expires_at=expires_at, dialect=dialect)
