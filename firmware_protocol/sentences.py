"""What each code means and what to do next, in English and Swedish, for people at the door and on the phone.

Keys and codes are never translated. A text is chosen here and nowhere else, so that the daemon, the
phone and the alarm centre say the same (docs/adr/0021-one-table-of-sentences.md).
"""

from __future__ import annotations

from enum import StrEnum, unique
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from firmware_protocol.codes import Code

if TYPE_CHECKING:
    from collections.abc import Mapping


@unique
class Language(StrEnum):
    """The languages that there are sentences in, as ISO 639 has them."""

    ENGLISH = "en"
    SWEDISH = "sv"


class Phrase(NamedTuple):
    """One text in both languages."""

    en: str
    sv: str

    def text(self, language: Language) -> str:
        """Return it in one language."""
        return self.sv if language is Language.SWEDISH else self.en


class Sentence(NamedTuple):
    """What happened, and the one thing to do next."""

    meaning: Phrase
    next_step: Phrase


def _row(en: str, sv: str, next_en: str, next_sv: str) -> Sentence:
    return Sentence(Phrase(en, sv), Phrase(next_en, next_sv))


SENTENCES: Final[Mapping[Code, Sentence]] = MappingProxyType(
    {
        Code.BUSY: _row(
            "The lock or the gateway is busy with somebody else.",
            "Låset eller gatewayen är upptagen med någon annan.",
            "Wait a few seconds and try again.",
            "Vänta några sekunder och försök igen.",
        ),
        Code.MALFORMED: _row(
            "What was sent is no message of this protocol.",
            "Det som skickades är inget meddelande enligt protokollet.",
            "Update the app or the program that sent it.",
            "Uppdatera appen eller programmet som skickade det.",
        ),
        Code.TOO_LARGE: _row(
            "What was sent is longer than a message may be.",
            "Det som skickades är längre än ett meddelande får vara.",
            "Update the app or the program that sent it.",
            "Uppdatera appen eller programmet som skickade det.",
        ),
        Code.UNSUPPORTED_TYPE: _row(
            "The receiver does not know this kind of message.",
            "Mottagaren känner inte till den här sortens meddelande.",
            "Update the lock's firmware or the gateway.",
            "Uppdatera låsets programvara eller gatewayen.",
        ),
        Code.VERSION: _row(
            "Lock and gateway have no version of the protocol in common.",
            "Låset och gatewayen har ingen gemensam version av protokollet.",
            "Update the one that is older.",
            "Uppdatera den som är äldst.",
        ),
        Code.NOT_CONFIRMED: _row(
            "The lock was asked before the session was confirmed.",
            "Låset fick en fråga innan sessionen var bekräftad.",
            "Nothing to do: the gateway connects again.",
            "Inget behöver göras: gatewayen ansluter igen.",
        ),
        Code.MOTOR_BLOCKED: _row(
            "The bolt met something and stopped on its way.",
            "Kolven stötte emot något och stannade på vägen.",
            "Pull or push the door, then try again; use the key if it stays stuck.",
            "Dra eller tryck på dörren och försök igen; använd nyckeln om kolven sitter fast.",
        ),
        Code.MOTOR_TIMEOUT: _row(
            "The motor ran too long without reaching the end.",
            "Motorn gick för länge utan att nå ändläget.",
            "Look where the bolt is; have the lock serviced if this comes back.",
            "Se efter var kolven är; beställ service om det händer igen.",
        ),
        Code.LOW_VOLTAGE: _row(
            "The lock's batteries are too weak to move the bolt.",
            "Låsets batterier är för svaga för att flytta kolven.",
            "Change the batteries; use the key until then.",
            "Byt batterier; använd nyckeln tills dess.",
        ),
        Code.POSITION_UNKNOWN: _row(
            "The lock does not know where the bolt is.",
            "Låset vet inte var kolven är.",
            "Turn the knob once from end to end.",
            "Vrid vredet en gång från ände till ände.",
        ),
        Code.NOT_CALIBRATED: _row(
            "The lock has not been calibrated.",
            "Låset är inte kalibrerat.",
            "Have the installer calibrate it.",
            "Låt installatören kalibrera det.",
        ),
        Code.TOO_LATE: _row(
            "The order reached the lock after its deadline, so the bolt stayed.",
            "Ordern nådde låset efter sin tidsgräns, så kolven stod still.",
            "Try again.",
            "Försök igen.",
        ),
        Code.LOG_GAP: _row(
            "Records are missing between the log and its copy.",
            "Poster saknas mellan loggen och dess kopia.",
            "Nothing to do here; the administrator is told which ones.",
            "Inget behöver göras här; administratören får veta vilka.",
        ),
        Code.LOG_FORK: _row(
            "Two logs claim to be the same one.",
            "Två loggar utger sig för att vara samma.",
            "Call the administrator: a copy of a device may be in use.",
            "Ring administratören: en kopia av en enhet kan vara i bruk.",
        ),
        Code.PERMITTED: _row(
            "It is permitted; the bolt is told to move.",
            "Det är tillåtet; kolven får order att röra sig.",
            "Wait for the bolt.",
            "Vänta på kolven.",
        ),
        Code.DONE: _row(
            "The bolt has moved as asked.",
            "Kolven har rört sig som begärt.",
            "Nothing to do.",
            "Inget mer behöver göras.",
        ),
        Code.FAILED: _row(
            "The bolt has not moved.",
            "Kolven har inte rört sig.",
            "Try again; use the key if it fails twice.",
            "Försök igen; använd nyckeln om det misslyckas två gånger.",
        ),
        Code.MAY_HAVE_EXECUTED: _row(
            "The bolt may have moved: the answer was lost.",
            "Kolven kan ha rört sig: svaret kom bort.",
            "Look at the door before you try again.",
            "Titta på dörren innan du försöker igen.",
        ),
        Code.BAD_SIGNATURE: _row(
            "A signature does not fit what it signs.",
            "En signatur stämmer inte med det den signerar.",
            "Fetch a new grant in the app; tell the administrator if it happens again.",
            "Hämta en ny behörighet i appen; meddela administratören om det händer igen.",
        ),
        Code.UNKNOWN_SIGNER: _row(
            "It is signed by somebody whom this gateway does not know.",
            "Det är signerat av någon som gatewayen inte känner till.",
            "Check that the provider is registered for this home.",
            "Kontrollera att utföraren är registrerad för det här hemmet.",
        ),
        Code.WRONG_AUDIENCE: _row(
            "It is meant for another home, another lock or another gateway.",
            "Det är avsett för ett annat hem, ett annat lås eller en annan gateway.",
            "Choose the right address in the app and fetch its door again.",
            "Välj rätt adress i appen och hämta dess dörr på nytt.",
        ),
        Code.NOT_YET_VALID: _row(
            "The right has not begun yet.",
            "Behörigheten har inte börjat gälla.",
            "Wait until it begins; check the clock of whoever issued it.",
            "Vänta tills den börjar gälla; kontrollera klockan hos den som utfärdade den.",
        ),
        Code.EXPIRED: _row(
            "It is over: the right, or the time in which this could be asked.",
            "Tiden är ute: för behörigheten, eller för när detta kunde begäras.",
            "Fetch a new grant, then try again.",
            "Hämta en ny behörighet och försök igen.",
        ),
        Code.TTL_TOO_LONG: _row(
            "It would be valid for longer than is allowed.",
            "Det skulle gälla längre än vad som är tillåtet.",
            "The provider must issue it for a shorter time.",
            "Utföraren måste utfärda den för kortare tid.",
        ),
        Code.WRONG_EPOCH: _row(
            "The gateway has started anew since this was asked.",
            "Gatewayen har startat om sedan detta begärdes.",
            "Ask the gateway for its info and send the command again.",
            "Fråga gatewayen om dess läge och skicka kommandot igen.",
        ),
        Code.SUPERSEDED: _row(
            "Something newer from the same sender has come first.",
            "Något nyare från samma avsändare kom före.",
            "Send it anew, if it is still wanted.",
            "Skicka det på nytt, om det fortfarande behövs.",
        ),
        Code.ID_REUSED: _row(
            "This number has been used for another command.",
            "Det här numret har använts till ett annat kommando.",
            "Tell the administrator: an app is broken, or somebody copies commands.",
            "Meddela administratören: en app är trasig, eller någon kopierar kommandon.",
        ),
        Code.CHALLENGE_UNKNOWN: _row(
            "The lock's question was answered too late, or once already.",
            "Låsets fråga besvarades för sent, eller redan en gång.",
            "Stay at the door and press again.",
            "Stå kvar vid dörren och tryck igen.",
        ),
        Code.REVOKED: _row(
            "The phone, the grant or the provider has been blocked.",
            "Telefonen, behörigheten eller utföraren har spärrats.",
            "Call your manager; nothing at the door can change it.",
            "Ring din chef; inget vid dörren kan ändra det.",
        ),
        Code.RIGHTS: _row(
            "The grant does not include this.",
            "Behörigheten omfattar inte detta.",
            "Ask the provider for a grant that does.",
            "Be utföraren om en behörighet som gör det.",
        ),
        Code.OUTSIDE_WINDOW: _row(
            "It is not the time of the visit.",
            "Det är inte tid för besöket.",
            "Check the visit in the plan; the provider can change it.",
            "Kontrollera besöket i planeringen; utföraren kan ändra det.",
        ),
        Code.USES_SPENT: _row(
            "The grant has been used as often as it may be.",
            "Behörigheten har använts så många gånger som den får.",
            "Ask the provider for a new one.",
            "Be utföraren om en ny.",
        ),
        Code.RATE_LIMITED: _row(
            "The door has been asked too often in a short time.",
            "Dörren har fått för många begäranden på kort tid.",
            "Wait as long as the answer says.",
            "Vänta så länge som svaret säger.",
        ),
        Code.TIER: _row(
            "The gateway can't prove enough of the present to admit this grant.",
            "Gatewayen kan inte bevisa nog om nuläget för att släppa fram behörigheten.",
            "Bring a phone with mobile coverage to the door, or restore the internet.",
            "Ta med en telefon med mobiltäckning till dörren, eller återställ internet.",
        ),
        Code.LINK_DOWN: _row(
            "The gateway does not reach the lock.",
            "Gatewayen når inte låset.",
            "Try again in a minute; check the lock's batteries.",
            "Försök igen om en minut; kontrollera låsets batterier.",
        ),
        Code.DUPLICATE: _row(
            "This very command has been answered before.",
            "Just det här kommandot har redan besvarats.",
            "Read the earlier answer; ask anew to move the bolt again.",
            "Läs det tidigare svaret; begär på nytt för att flytta kolven igen.",
        ),
        Code.STORE_UNAVAILABLE: _row(
            "The gateway's disk is full or broken, so nothing may move.",
            "Gatewayens disk är full eller trasig, så inget får röra sig.",
            "Use the key; call the technician.",
            "Använd nyckeln; ring teknikern.",
        ),
        Code.SECOND_OPERATOR_NEEDED: _row(
            "Without an open alarm two operators must sign.",
            "Utan ett öppet larm måste två operatörer signera.",
            "Name the open alarm, or let a colleague sign too.",
            "Ange det öppna larmet, eller låt en kollega signera också.",
        ),
        Code.ALARM_NOT_OPEN: _row(
            "The alarm that was named is not open for this home.",
            "Larmet som angavs är inte öppet för det här hemmet.",
            "Have the intake open it again.",
            "Låt larmmottagningen öppna det igen.",
        ),
        Code.LOCKED_OUT: _row(
            "Too many refusals in a row for this phone at this door.",
            "För många nekanden i rad för den här telefonen vid den här dörren.",
            "Wait as long as the answer says, at most 5 minutes.",
            "Vänta så länge som svaret säger, högst 5 minuter.",
        ),
        Code.MISSING_GRANT: _row(
            "The grant was not sent along, and the gateway does not have it.",
            "Behörigheten skickades inte med, och gatewayen har den inte.",
            "Send the grant with the command.",
            "Skicka behörigheten tillsammans med kommandot.",
        ),
        Code.CLONE_SUSPECT: _row(
            "Somebody else seems to hold this gateway's keys.",
            "Någon annan tycks ha den här gatewayens nycklar.",
            "Call the administrator: pair the lock anew.",
            "Ring administratören: para ihop låset på nytt.",
        ),
        Code.OWNER_EPOCH: _row(
            "The order is not newer than the one that the lock obeys, or leaps too far ahead.",
            "Ordern är inte nyare än den som låset lyder, eller hoppar för långt framåt.",
            "Ask the administrator for a new order with the next owner epoch.",
            "Be administratören om en ny order med nästa ägarepok.",
        ),
        Code.NOT_INSTALLING: _row(
            "The lock has an owner and is not waiting to be paired.",
            "Låset har en ägare och väntar inte på att paras ihop.",
            "Press the install button inside the lock's housing, then pair within 10 minutes.",
            "Tryck på installationsknappen inuti låshuset och para ihop inom 10 minuter.",
        ),
        Code.NO_ORDER: _row(
            "No order was handed over before this.",
            "Ingen order har lämnats över före detta.",
            "Start the same command again from the beginning.",
            "Starta om samma kommando från början.",
        ),
        Code.DENIED: _row(
            "No.",
            "Nej.",
            "Whoever has a right here can see the reason in the log.",
            "Den som har behörighet här kan se skälet i loggen.",
        ),
    }
)
"""One row a code; a test holds the table against `codes.py`."""
