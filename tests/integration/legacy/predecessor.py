"""A predecessor's database, as such systems have them: its tables, with rows of every kind."""

import json
from typing import Final

import psycopg2

TABLES: Final = """
CREATE TABLE users (id serial PRIMARY KEY, username varchar(255) UNIQUE NOT NULL,
  email varchar(255), full_name varchar(255), role varchar(20) NOT NULL DEFAULT 'user',
  created_at timestamp DEFAULT now());
CREATE TABLE supported_licenses (id serial PRIMARY KEY, name text, identifier text, status text);
CREATE TABLE requests (id serial PRIMARY KEY, application_name varchar(255) NOT NULL,
  version varchar(100) NOT NULL, requestor_id integer REFERENCES users, raw_request_blob text,
  created_at timestamp DEFAULT now());
CREATE TABLE packages (id serial PRIMARY KEY, name varchar(255) NOT NULL,
  version varchar(100) NOT NULL, npm_url text, integrity text, license_identifier varchar(100),
  created_at timestamp DEFAULT now(), UNIQUE (name, version));
CREATE TABLE request_packages (request_id integer REFERENCES requests,
  package_id integer REFERENCES packages, package_type varchar(20) NOT NULL DEFAULT 'new',
  PRIMARY KEY (request_id, package_id));
CREATE TABLE package_status (package_id integer PRIMARY KEY REFERENCES packages,
  status varchar(50) NOT NULL, license_score integer, security_score integer,
  license_status varchar(20), approver_id integer REFERENCES users,
  rejector_id integer REFERENCES users, published_at timestamp,
  publish_status varchar(20) DEFAULT 'pending', created_at timestamp DEFAULT now(),
  updated_at timestamp DEFAULT now());
CREATE TABLE security_scans (id serial PRIMARY KEY, package_id integer REFERENCES packages,
  scan_type varchar(50) DEFAULT 'trivy', scan_result jsonb, critical_count integer DEFAULT 0,
  high_count integer DEFAULT 0, medium_count integer DEFAULT 0, low_count integer DEFAULT 0,
  trivy_version varchar(50), created_at timestamp DEFAULT now(), completed_at timestamp);
CREATE TABLE audit_log (id serial PRIMARY KEY, user_id integer REFERENCES users,
  action varchar(100) NOT NULL, resource_type varchar(100) NOT NULL, resource_id integer,
  details text, created_at timestamp DEFAULT now());
CREATE TABLE repository_config (id serial PRIMARY KEY, config_key text);
"""

LOCK: Final = json.dumps(
    {"name": "shop", "lockfileVersion": 3,
     "packages": {"node_modules/a": {"resolved": "https://me:pass@npm.example.test/a.tgz"}}}
)  # fmt: skip

SHA512: Final = "sha512-" + "A" * 86 + "=="

HELD: Final = ("Checking Licence", "Downloading", "Downloaded", "Security Scanning", "Publishing")
STATUSES: Final = (
    "Requested", *HELD, "Submitted", "Licence Checked", "Security Scanned", "Download Failed",
    "Pending Approval", "Approved", "Rejected", "Recalled", "Nonsense",
)  # fmt: skip


def create(url: str) -> None:
    """Users 1 (admin), 2 (approver), 3 (user); packages 101, 102 …, one for each of STATUSES.

    Request 7 of user 3 asks for all of them.
    """
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection:
        cursor = connection.cursor()
        cursor.execute(TABLES)
        cursor.execute(
            "INSERT INTO users (id, username, role) VALUES (1, 'root', 'admin'),"
            " (2, 'ann approves', 'approver'), (3, 'uwe', 'user')"
        )
        cursor.execute(
            "INSERT INTO requests VALUES (7, 'shop', '1.2.3', 3, %s, '2024-05-06 07:08:09')", [LOCK]
        )
        for number, status in enumerate(STATUSES, 101):
            package(cursor, number, status)
        cursor.execute("UPDATE package_status SET approver_id = 2 WHERE status = 'Approved'")
        cursor.execute("UPDATE packages SET integrity = %s WHERE id = 101", [SHA512])


def package(
    cursor: "psycopg2.extensions.cursor",
    number: int,
    status: str,
    request: int | None = 7,
    name: str | None = None,
    **columns: object,
) -> None:
    cursor.execute(
        "INSERT INTO packages (id, name, version, license_identifier)"
        " VALUES (%s, %s, '1.0.0', 'MIT')",
        [number, name or f"package-{number}"],
    )
    cursor.execute(
        "INSERT INTO package_status (package_id, status, license_score, security_score,"
        " created_at, updated_at) VALUES (%s, %s, 80, 92, '2024-05-06', '2024-05-07')",
        [number, status],
    )
    for column, value in columns.items():
        cursor.execute(
            f"UPDATE package_status SET {column} = %s WHERE package_id = %s",
            [value, number],
        )
    if request is not None:
        cursor.execute("INSERT INTO request_packages VALUES (%s, %s)", [request, number])
