"""Examples of every verb, for the man pages: a purpose and a command that can be typed."""

from __future__ import annotations

from collections.abc import Mapping

#: By the words after `claude-relay`; those of the program itself under the empty name.
EXAMPLES: Mapping[str, Mapping[str, str]] = {
    "": {
        "Send one prompt and print only its answer:": "claude-relay submit 'What is 2+2?' --wait",
        "Run everything once, without a key and without cost:": "claude-relay demo",
        "Find out what is wrong here, and how to fix it:": "claude-relay doctor",
        "Send the answers again whose webhook was down:": "claude-relay redeliver --dead --host hook.eu1.make.com",
        "Copy the store while everything runs:": "claude-relay backup /var/backups/relay.db",
    },
    "serve": {
        "Run the API alone, as the systemd unit does:": "claude-relay serve",
        "Run the API and a worker in one container:": "claude-relay serve --with-worker",
    },
    "worker": {"Run a second worker beside the first:": "claude-relay worker --name 2"},
    "demo": {"Send an invoice through the relay, without a key:": "claude-relay demo"},
    "submit": {
        "Ask, and print only the answer:": "claude-relay submit 'What is 2+2?' --wait",
        "Send a PDF, with the answer to a webhook:": (
            "claude-relay submit -a invoice.pdf --webhook https://hook.example.com/x 'Read this invoice'"
        ),
        "Send many jobs, one JSON object a line:": "claude-relay submit --jsonl jobs.jsonl",
        "See what a job would cost, without sending it:": "claude-relay submit -f prompt.txt --dry-run -u",
    },
    "table": {"A sheet in, a sheet out:": "claude-relay table submit june.csv -t invoice --wait -o june-read.csv"},
    "table submit": {
        "A sheet in, a sheet out:": "claude-relay table submit june.csv -t invoice --wait -o june-read.csv",
        "What it would cost:": "claude-relay table submit june.csv -t invoice --dry-run",
        "A folder of files, at half the price:": "claude-relay table submit --files invoices -t invoice --mode batch",
    },
    "table status": {"As JSON:": "claude-relay table status june --json"},
    "table results": {"For Excel:": "claude-relay table results june --format excel -o june-read.csv"},
    "table retry": {"One row again:": "claude-relay table retry june --row 7 --yes"},
    "table cancel": {"Stop every row:": "claude-relay table cancel june"},
    "table close": {"No more rows follow:": "claude-relay table close june"},
    "table redeliver": {"To another URL:": "claude-relay table redeliver june --to https://hook.example/in"},
    "table list": {"The newest five:": "claude-relay table list --limit 5"},
    "template": {"Keep a prompt with placeholders under a name:": "claude-relay template save invoice invoice.json"},
    "template save": {"A new version, for every key:": "claude-relay template save invoice invoice.json"},
    "template list": {"As JSON:": "claude-relay template list --json"},
    "template show": {"An earlier version:": "claude-relay template show invoice@2"},
    "template delete": {"No job may use it from now on:": "claude-relay template delete invoice"},
    "status": {
        "Keep the whole relay on one screen:": "claude-relay status --watch",
        "Decide in a script by the state of one job:": "claude-relay status --quiet order-17",
    },
    "result": {
        "Print an answer:": "claude-relay result order-17",
        "Write the body of the callback to a file:": "claude-relay result order-17 --json -o order-17.json",
    },
    "wait": {"Wait until the receiver has the answers:": "claude-relay wait order-17 order-18 --for delivered"},
    "list": {
        "The failures of one host since yesterday:": (
            "claude-relay list --status failed --host hook.example.com --since 1d"
        ),
        "The results without an acknowledgement, as JSON:": "claude-relay list --unacked --json",
    },
    "search": {"Find a customer's jobs of November:": "claude-relay search Hansen --since 2026-11 --until 2026-11"},
    "tail": {
        "Follow everything that happens:": "claude-relay tail -f",
        "Read one answer while Claude writes it:": "claude-relay tail -f order-17",
    },
    "why": {"Find out why a job has not been delivered:": "claude-relay why order-17"},
    "cost": {
        "The spend of every key in November, for a spreadsheet:": (
            "claude-relay cost --by key --since 2026-11 --until 2026-11 --csv"
        ),
        "The spend of one group by day:": "claude-relay cost --group invoices --since 30d",
    },
    "retry": {
        "Run one job again:": "claude-relay retry order-17",
        "Run the time-outs of a group again:": "claude-relay retry --error timeout --group invoices --since 1d",
    },
    "redeliver": {
        "Send one answer to another address:": "claude-relay redeliver order-17 --to https://hook.example.com/y",
        "Send what a host has missed since a day:": (
            "claude-relay redeliver --host hook.example.com --since 2026-11-29"
        ),
    },
    "cancel": {
        "Stop a job, also while it runs:": "claude-relay cancel order-17",
        "Stop everything of a group that has not ended:": "claude-relay cancel --group invoices",
    },
    "pause": {"Start no more jobs of a group:": "claude-relay pause invoices"},
    "drain": {
        "Before a maintenance window:": "claude-relay drain --timeout 30m",
        "Before the move to another store, with all that waits:": "claude-relay drain --all",
    },
    "resume": {"End a pause or a drain:": "claude-relay resume"},
    "listen": {"See the next callback and its signature:": "claude-relay listen --port 8080 --count 1"},
    "blueprint": {"Write the scenarios for Make.com:": "claude-relay blueprint make --with-key"},
    "blueprint make": {
        "With a key of their own:": "claude-relay blueprint make --with-key --group invoices",
        "For the invoices of a folder, read by the template faktura:": (
            "claude-relay blueprint make --variant invoice --with-key"
        ),
    },
    "blueprint n8n": {
        "Into a folder:": "claude-relay blueprint n8n --with-key -o workflows",
        "For the rows of a sheet, each put into the template products:": (
            "claude-relay blueprint n8n --variant sheet --template products"
        ),
    },
    "doctor": {
        "Check this machine:": "sudo claude-relay doctor",
        "Ask Anthropic, too, whether it accepts the key:": "sudo claude-relay doctor --upstream",
    },
    "alerts": {"Send what is due now:": "claude-relay alerts"},
    "keys": {"List the keys and what they may do:": "claude-relay keys list"},
    "keys add": {"A key with a budget of five dollars a day:": "claude-relay keys add make --scope submit --budget 5"},
    "keys list": {"As JSON:": "claude-relay keys list --json"},
    "keys weight": {"Give a key twice the share of the others:": "claude-relay keys weight make 2"},
    "keys budget": {"Let a key spend ten dollars a day from now on:": "claude-relay keys budget make 10"},
    "keys revoke": {"Refuse a key from now on:": "claude-relay keys revoke make"},
    "keys webhook": {"Begin to sign with a new secret:": "claude-relay keys webhook rotate"},
    "keys webhook rotate": {"With two days for the receivers:": "claude-relay keys webhook rotate --grace 2d"},
    "keys webhook finish": {"Stop to sign with the old one:": "claude-relay keys webhook finish"},
    "openapi": {"Write the document for a client generator:": "claude-relay openapi > openapi.json"},
    "backup": {"Copy the store of today:": "claude-relay backup /var/backups/relay-$(date +%F).db"},
    "restore": {"Bring a backup back, with the daemons stopped:": "claude-relay restore /var/backups/relay.db"},
    "purge": {"Erase now what is past its retention:": "claude-relay purge"},
    "migrate": {"Ask whether this version can use the store:": "claude-relay migrate --check"},
    "config": {"Check the settings before a reload:": "claude-relay config check"},
    "config check": {"As the service's user sees them:": "sudo claude-relay config check"},
    "config init": {"Write a settings file with strong keys:": "claude-relay config init .env"},
    "config show": {"See where each value comes from:": "claude-relay config show --origin"},
    "completion": {"Load the completion of bash:": "claude-relay completion bash"},
}
