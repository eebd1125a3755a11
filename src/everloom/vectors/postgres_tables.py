"""The tables of ``postgres.py``, and the texts of what is asked of them."""

from typing import NamedTuple

_SETS = """
CREATE TABLE IF NOT EXISTS vector_sets (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project TEXT COLLATE "C" NOT NULL, store TEXT COLLATE "C" NOT NULL, dimensions INTEGER NOT NULL,
    chunks BIGINT NOT NULL DEFAULT 0, vectors BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 0, removals BIGINT NOT NULL DEFAULT 0, UNIQUE (project, store))"""

_CHUNKS = """
CREATE TABLE IF NOT EXISTS vector_chunks (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, set_number BIGINT NOT NULL,
    file_id TEXT COLLATE "C" NOT NULL, position INTEGER NOT NULL,
    text TEXT NOT NULL, words TSVECTOR NOT NULL, data BYTEA)"""

_POINTS = """
CREATE TABLE IF NOT EXISTS vector_points (
    chunk BIGINT NOT NULL, set_number BIGINT NOT NULL, file_id TEXT COLLATE "C" NOT NULL,
    dimensions INTEGER NOT NULL, embedding HALFVEC NOT NULL)"""

SCHEMA = (
    _SETS,
    _CHUNKS,
    "CREATE INDEX IF NOT EXISTS ix_vector_chunks_set ON vector_chunks (set_number, number)",
    "CREATE INDEX IF NOT EXISTS ix_vector_chunks_file ON vector_chunks (set_number, file_id)",
    "CREATE INDEX IF NOT EXISTS ix_vector_chunks_words ON vector_chunks USING gin (words) WITH (fastupdate = off)",
)
"""Without ``fastupdate``: what it puts off writing, every search would have to read through."""

POINTS_SCHEMA = (
    _POINTS,
    "CREATE INDEX IF NOT EXISTS ix_vector_points_set ON vector_points (set_number, file_id)",
)
"""With pgvector: a row a vector; ``vector_chunks.data`` stays empty then."""


class PostgresSet(NamedTuple):
    """What is known of a store's chunks; ``version`` and ``removals`` as in ``exact.Index``."""

    number: int
    dimensions: int
    chunks: int
    vectors: int
    version: int
    removals: int


FIND = (
    "SELECT number, dimensions, chunks, vectors, version, removals FROM vector_sets WHERE project = $1 AND store = $2"
)

CLAIM = (
    "INSERT INTO vector_sets (project, store, dimensions) VALUES ($1, $2, $3)"
    " ON CONFLICT (project, store) DO UPDATE SET version = vector_sets.version + 1"
    " RETURNING number, dimensions, chunks, vectors, version, removals"
)
"""Makes the set or locks it: writers of one set follow each other, so its chunks' numbers grow as they are seen."""

REMOVE_FILE = (
    "WITH gone AS (DELETE FROM vector_chunks WHERE set_number = $1 AND file_id = $2 RETURNING number)"
    " SELECT count(*) FROM gone"
)
REMOVE_FILE_POINTS = (
    "WITH gone AS (DELETE FROM vector_points WHERE set_number = $1 AND file_id = $2 RETURNING 1)"
    " SELECT count(*) FROM gone"
)
FILE_BYTES = "SELECT COALESCE(sum(length(data)), 0) FROM vector_chunks WHERE set_number = $1 AND file_id = $2"

COUNTS = (
    "UPDATE vector_sets SET chunks = chunks + $2, vectors = vectors + $3, version = version + 1,"
    " removals = removals + $4 WHERE number = $1"
)

ADD = (
    "INSERT INTO vector_chunks (set_number, file_id, position, text, words, data)"
    " SELECT $1, $2, position, text, array_to_tsvector(string_to_array(words, ' ')), data"
    " FROM unnest($3::int[], $4::text[], $5::text[], $6::bytea[]) WITH ORDINALITY"
    " AS given (position, text, words, data, place) ORDER BY place RETURNING number"
)
ADD_POINT = (
    "INSERT INTO vector_points (chunk, set_number, file_id, dimensions, embedding)"
    " VALUES ($1, $2, $3, $4, $5::real[]::halfvec)"
)

ROWS = "SELECT number, file_id, data FROM vector_chunks WHERE set_number = $1 AND number > $2 ORDER BY number LIMIT $3"
CHUNKS = "SELECT number, file_id, position, text FROM vector_chunks WHERE number = ANY($1)"


def all_points(filtered: bool) -> str:
    """The nearest of a set, every vector of it compared. Parameters: set, vector, limit, and files."""
    return (
        "WITH mine AS MATERIALIZED (SELECT chunk, embedding FROM vector_points WHERE set_number = $1"
        f"{' AND file_id = ANY($4)' if filtered else ''})"
        " SELECT chunk, max(-(embedding <#> $2::real[]::halfvec)) AS score FROM mine"
        " GROUP BY chunk ORDER BY score DESC, chunk LIMIT $3"
    )


def graph_points(dimensions: int, filtered: bool) -> str:
    """The nearest of a set by the HNSW graph, which is walked on until there are enough of the set's own."""
    kind = f"halfvec({dimensions})"
    return (
        f"WITH near AS MATERIALIZED (SELECT chunk, embedding::{kind} <#> $2::real[]::{kind} AS distance"
        f" FROM vector_points WHERE dimensions = {dimensions} AND set_number = $1"
        f"{' AND file_id = ANY($4)' if filtered else ''} ORDER BY distance LIMIT $3)"
        " SELECT chunk, max(-distance) AS score FROM near GROUP BY chunk ORDER BY score DESC, chunk"
    )


def graph(dimensions: int) -> str:
    """The HNSW index over all vectors of one size."""
    return (
        f"CREATE INDEX IF NOT EXISTS ix_vector_points_{dimensions} ON vector_points"
        f" USING hnsw ((embedding::halfvec({dimensions})) halfvec_ip_ops) WHERE dimensions = {dimensions}"
    )


FREQUENCIES = (
    "SELECT asked.term, (SELECT count(*) FROM"
    " (SELECT 1 FROM vector_chunks WHERE words @@ asked.query::tsquery LIMIT $3) AS held)"
    " FROM unnest($1::text[], $2::text[]) AS asked (term, query)"
)


def lexeme(number: int, word: str) -> str:
    """A word as the index of words has it: every set has its own, so that no search meets another set's chunks."""
    return f"{number}/{word}"


def query(number: int, term: str) -> str:
    """A ``tsquery`` for one term of a set. Terms are letters and digits alone, so quotes are all it takes."""
    return f"'{lexeme(number, term)}'"


def matching(filtered: bool) -> str:
    """Chunks by the worth of the words in them. Parameters: queries, their worths, limit, rows a query, and files.

    A row is counted once for each query that finds it: to ask a row which of them it holds would be to unpack it.
    """
    return (
        "SELECT found.number FROM unnest($1::text[], $2::float8[]) AS asked (query, worth)"
        " CROSS JOIN LATERAL (SELECT number FROM vector_chunks WHERE words @@ asked.query::tsquery"
        f"{' AND file_id = ANY($5)' if filtered else ''} LIMIT $4) AS found"
        " GROUP BY found.number ORDER BY sum(asked.worth) DESC, found.number LIMIT $3"
    )
