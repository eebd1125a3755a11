"""Every benchmark, one after the other, in the one table that docs/benchmarks.md shows."""

from benchmarks import governed, litellm, passthrough, runs, start, steps
from benchmarks.measure import machine, options, table


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--sizes", default="1000,100000,1000000", help="run steps stored")
    parser.add_argument("--runs", type=int, default=40, help="of each client in each repetition")
    parser.add_argument("--streams", type=int, default=1000, help="open at once")
    chosen = parser.parse_args()
    rows = [
        *steps.measure([int(size) for size in chosen.sizes.split(",")], chosen.repetitions, chosen.seconds),
        *runs.measure(chosen.repetitions, chosen.runs, chosen.seconds),
        *passthrough.measure(chosen.repetitions, chosen.seconds, chosen.streams),
        *governed.measure(chosen.repetitions, chosen.seconds),
        *litellm.measure(chosen.repetitions, chosen.seconds),
        *start.measure(chosen.repetitions + 2),
    ]
    print(f"{table(rows)}\n\n{machine()}")


if __name__ == "__main__":
    main()
