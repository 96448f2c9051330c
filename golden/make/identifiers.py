"""Makes golden/corpus/identifiers.jsonl: synthetic texts with and without identifiers.

40 texts for each of the 16 classes of HIPAA's Safe Harbor rule that text can show, and 240 medical
texts with numbers, capitals and units but no identifier. Everything is drawn from the lists below:
no name, number or address belongs to anybody (numbers use ranges set aside for fiction where there
are such). Some texts have no form that a pattern could know (a bare name, a village), so that recall
is below 1 where it must be. Forms and patterns have the same authors: recall here is an upper bound
of recall elsewhere.

Python 3.11 or later, standard library only.

    python golden/make/identifiers.py
"""

import json
import pathlib
import random

ROOT = pathlib.Path(__file__).resolve().parents[2]
RNG = random.Random(20221122)
EACH, WITHOUT = 40, 240

FIRST = ["Maria", "James", "Aisha", "Peter", "Lena", "Omar", "Chloe", "Victor", "Ingrid", "Samuel"]
LAST = ["Keller", "O'Brien", "Nguyen", "Smith-Jones", "Garcia", "Muller", "Abbott", "Fischer", "Rossi"]
MONTHS = ["January", "March", "May", "August", "October", "Dec"]
TOWNS = ["Springfield", "Oakdale", "Riverton", "Fairview"]
STREETS = ["Maple Street", "Old Mill Road", "Lincoln Ave", "5th Avenue", "Sunset Blvd", "Park Lane"]


def pick(items):
    return RNG.choice(items)


def digits(n):
    return "".join(RNG.choice("0123456789") for _ in range(n - 1)) + RNG.choice("123456789")


def letters(n):
    return "".join(RNG.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(n))


def first():
    return pick(FIRST)


def last():
    return pick(LAST)


def phone():
    a, b = RNG.randint(201, 989), RNG.randint(100, 199)
    return pick([f"({a}) 555-0{b}", f"{a}-555-0{b}", f"{a}.555.0{b}", f"+1 {a} 555 0{b}",
                 f"+44 20 7946 0{b}", f"1-{a}-555-0{b}"])


def day():
    y, m, d = RNG.randint(1950, 2022), RNG.randint(1, 12), RNG.randint(1, 28)
    return pick([f"{m}/{d}/{y}", f"{m:02}/{d:02}/{y % 100:02}", f"{y}-{m:02}-{d:02}", f"{d}.{m}.{y}",
                 f"{pick(MONTHS)} {d}, {y}", f"{d} {pick(MONTHS)} {y}", f"{pick(MONTHS)} {d}th",
                 f"the {d}th of {pick(MONTHS)}"])


FORMS = {
    "name": lambda: pick([
        f"Mr. {last()} was admitted with chest pain.", f"I saw Mrs {last()} in clinic today.",
        f"Patient: {first()} {last()}", f"Patient name: {last()}, {first()}",
        f"My name is {first()} {last()} and I have a rash.", f"Seen by Dr. {first()} {last()}.",
        f"Discharged by {first()} {last()}, MD.", f"Her daughter {first()} {last()} was called.",
        f"Signed, {first()} {last()}", f"{first()} {last()} complains of back pain.",
        f"{last()} has done well since surgery.", f"Prof. {last()} agreed with the plan."]),
    "place": lambda: pick([
        f"Lives at {RNG.randint(1, 999)} {pick(STREETS)}.", f"{RNG.randint(10, 99)} {pick(STREETS)}, apt 4",
        f"{pick(TOWNS)}, OH {digits(5)}", f"ZIP code {digits(5)}", f"zip: {digits(5)}-{digits(4)}",
        f"P.O. Box {digits(3)}, {pick(TOWNS)}", f"PO Box {digits(4)}", f"He is from the village of {pick(TOWNS)}.",
        f"Mail to {RNG.randint(1, 99)} N. {pick(['Main', 'High'])} St."]),
    "date": lambda: pick([
        f"Admitted on {day()}.", f"DOB {day()}", f"Surgery was performed {day()}.", f"Follow-up: {day()}",
        f"A {RNG.randint(90, 105)}-year-old woman with a fall.", f"He is {RNG.randint(90, 104)} years old.",
        f"age {RNG.randint(90, 109)}, frail", f"{RNG.randint(90, 99)} yo female with dyspnea"]),
    "phone": lambda: pick([f"Call {phone()} with questions.", f"Phone: {phone()}", f"Tel. {phone()}",
                           f"Her mobile is {phone()}.", f"Contact the son at {phone()}.", f"cell {phone()}"]),
    "fax": lambda: pick([f"Fax: {phone()}", f"Please fax to {phone()}.", f"FAX number {phone()}",
                         f"Results were faxed to {phone()}.", f"{phone()} (fax)", f"Fax no. {phone()}"]),
    "email": lambda: pick(["Write to {}.", "Email: {}", "His address is {}", "contact <{}>"]).format(pick([
        f"{first().lower()}.{RNG.randint(1, 99)}@example.com", f"{first().upper()}@MAIL.EXAMPLE.ORG",
        f"{first().lower()}_{digits(2)}@clinic.example.co.uk", f"{first().lower()}+note@example.net"])),
    "social_security": lambda: pick(["SSN {}", "Social security number: {}", "ssn: {}", "soc. sec. no. {}",
                                     "The number {} was on file."][:4]).format(pick([
        f"9{digits(2)}-{digits(2)}-{digits(4)}", f"9{digits(2)} {digits(2)} {digits(4)}", f"9{digits(8)}"])),
    "medical_record": lambda: pick(["MRN {}", "MRN: {}", "Medical record number {}", "Chart no. {}",
                                    "medical record # {}", "Hospital number: {}"]).format(
        pick([digits(7), digits(8), f"{letters(2)}{digits(6)}", f"{digits(3)}-{digits(5)}"])),
    "health_plan": lambda: pick(["Medicare number {}", "Insurance ID: {}", "Member ID {}", "Policy no. {}",
                                 "Health plan beneficiary number {}", "Medicaid # {}", "Group number {}"]).format(
        pick([f"{letters(3)}{digits(9)}", digits(10), f"{digits(3)}-{digits(6)}", f"{letters(1)}{digits(8)}"])),
    "account": lambda: pick([f"Account number {digits(10)}", f"Acct. # {digits(8)}", f"Billing account: {digits(9)}",
                             f"Card 4000 {digits(4)} {digits(4)} {digits(4)}", f"bank account no. {digits(9)}",
                             f"IBAN DE00 {digits(4)} {digits(4)} {digits(4)} {digits(4)} 00", f"Invoice no. {digits(6)}"]),
    "licence": lambda: pick([f"License number {letters(1)}{digits(7)}", f"DEA number {letters(2)}{digits(7)}",
                             f"NPI: {digits(10)}", f"Driver's license no. {digits(8)}",
                             f"Medical licence {letters(2)}-{digits(6)}", f"Certificate no. {digits(6)}",
                             f"Passport number {letters(1)}{digits(8)}"]),
    "vehicle": lambda: pick([f"VIN {digits(1)}{letters(4)}{digits(2)}{letters(3)}{digits(7)}",
                             f"VIN: {letters(3)}{digits(2)}{letters(2)}{digits(1)}{letters(1)}{digits(8)}",
                             f"License plate {letters(3)} {digits(4)}", f"licence plate: {letters(3)}-{digits(3)}",
                             f"plate number {digits(1)}{letters(3)}{digits(3)}",
                             f"The car's registration plate {letters(2)}{digits(2)} {letters(3)} was noted."]),
    "device": lambda: pick([f"Pacemaker serial number {letters(3)}{digits(6)}", f"S/N {digits(8)}",
                            f"Device ID: {letters(2)}-{digits(6)}", f"Implant lot no. {digits(6)}",
                            f"MAC address 00:1{digits(1)}:{digits(2)}:AB:{digits(2)}:{digits(2)}",
                            f"Serial no. {digits(5)}-{digits(4)}", f"IMEI {digits(15)}"]),
    "url": lambda: pick([f"See https://example.org/{first().lower()}", f"http://www.example.com/p?id={digits(4)}",
                         f"Her page is www.example.net", f"photos at example.com/{first().lower()}",
                         f"(https://blog.example.org/post-{digits(2)})"]),
    "ip": lambda: pick([f"Logged in from 192.0.2.{RNG.randint(1, 254)}", f"IP 198.51.100.{RNG.randint(1, 254)}",
                        f"IP address: 203.0.113.{RNG.randint(1, 254)}",
                        f"host 2001:db8:0:0:0:0:{digits(3)}:{digits(2)}", f"from 2001:db8::{digits(3)}"]),
    "other": lambda: pick([f"Patient ID {digits(6)}", f"Study number: {letters(2)}-{digits(4)}",
                           f"Subject no. {digits(5)}", f"Specimen ID {letters(1)}{digits(6)}",
                           f"Accession number {letters(1)}{digits(2)}-{digits(5)}", f"Employee number {digits(6)}",
                           f"Case # {digits(5)}", f"Barcode {digits(9)}", f"Encounter ID: {digits(8)}"]),
}

PLAIN = [
    lambda: f"Blood pressure is {RNG.randint(90, 180)}/{RNG.randint(50, 110)} mm Hg and pulse {RNG.randint(50, 130)}/min.",
    lambda: f"Give {RNG.randint(1, 900)} mg of amoxicillin every {RNG.randint(4, 12)} hours for {RNG.randint(3, 14)} days.",
    lambda: f"A {RNG.randint(1, 89)}-year-old man has had a cough for {RNG.randint(2, 9)} weeks.",
    lambda: f"Sodium {RNG.randint(120, 150)}, potassium {RNG.randint(30, 60) / 10}, pH 7.{RNG.randint(10, 59)}, PaCO2 {RNG.randint(20, 70)}.",
    lambda: f"In {RNG.randint(1990, 2022)}, {RNG.randint(100, 9999)} of {RNG.randint(10000, 99999)} people were affected ({RNG.randint(1, 99)}%).",
    lambda: f"The gene {letters(3)}{digits(1)} on chromosome {RNG.randint(1, 22)}q{RNG.randint(11, 36)} codes for a {RNG.randint(100, 999)} kDa protein.",
    lambda: f"Platelets fell from {RNG.randint(150, 400)},000 to {RNG.randint(10, 90)},000/mm3 within {RNG.randint(2, 9)} days.",
    lambda: f"Crohn Disease and Parkinson Disease differ; see Figure {RNG.randint(1, 9)} and Table {RNG.randint(1, 9)}.",
    lambda: f"The relative risk was {RNG.randint(1, 9)}.{digits(2)} (95% CI {RNG.randint(1, 4)}.{digits(2)}-{RNG.randint(5, 9)}.{digits(2)}, p < 0.00{RNG.randint(1, 9)}).",
    lambda: f"Vitamin B12 below {RNG.randint(100, 200)} pg/mL causes megaloblastic anemia; folate does not.",
    lambda: f"Apgar scores were {RNG.randint(1, 5)} and {RNG.randint(6, 9)} at 1 and 5 minutes; weight {RNG.randint(2000, 4500)} g.",
    lambda: f"Type {RNG.randint(1, 2)} diabetes, HbA1c {RNG.randint(60, 120) / 10}%, LDL {RNG.randint(70, 200)} mg/dL, height {RNG.randint(150, 199)} cm.",
]


def main():
    lines = []
    for name, form in FORMS.items():
        seen = set()
        while len(seen) < EACH:
            text = form()
            if text not in seen:
                seen.add(text)
                lines.append({"class": name, "text": text})
    for n in range(WITHOUT):
        lines.append({"class": None, "text": PLAIN[n % len(PLAIN)]()})
    out = ROOT / "golden" / "corpus" / "identifiers.jsonl"
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
