"""What the synthetic voices say: sentences put together from own word lists in twenty languages.

Each language has four lists: who, does what, when or where, and short calls. A sentence takes one of each of the
first three, so a few words give thousands of sentences; figures are left to the voice to read out. Languages of the
test split alone are kept apart, and in the others the test split says words that training never hears. Knows no voice.
"""

from __future__ import annotations

import numpy as np

RESERVED = 4  # one phrase of so many in each list is kept for the test split

# language as espeak-ng names it -> who / what / when or where / calls
TRAIN = {
    "en": (
        "the old ferry|my neighbour's daughter|every second pupil|a tall man in a blue coat|the choir|nobody here"
        "|our youngest cook|the painter next door",
        "crosses the wide river|counts the lamps|has forgotten the umbrella|bakes bread with honey|waits for the mail"
        "|sings louder than the wind|repairs a broken clock|draws a map of the moon",
        "before the sun comes up|behind the green house|in the middle of winter|once a week|without saying a word"
        "|on the way to the harbour|as soon as it rains|under the wooden bridge",
        "Good morning!|Are you sure?|What a beautiful evening!|Wait a moment, please.|No, not yet.|Oh!|Yes, of course."
        "|Who is there?",
    ),
    "de": (
        "die alte Fähre|unsere Nachbarin|jeder zweite Schüler|ein großer Mann im blauen Mantel|der Chor|niemand"
        "|der jüngste Koch|die Malerin von nebenan",
        "überquert den breiten Fluss|zählt die Lampen|hat den Schirm vergessen|backt Brot mit Honig"
        "|wartet auf die Post|singt lauter als der Wind|repariert eine kaputte Uhr|zeichnet eine Karte vom Mond",
        "vor Sonnenaufgang|hinter dem grünen Haus|mitten im Winter|einmal in der Woche|ohne ein Wort zu sagen"
        "|auf dem Weg zum Hafen|sobald es regnet|unter der Holzbrücke",
        "Guten Morgen!|Bist du sicher?|Was für ein schöner Abend!|Einen Augenblick, bitte.|Nein, noch nicht.|Ach so!"
        "|Ja, natürlich.|Wer ist da?",
    ),
    "fr": (
        "le vieux bateau|notre voisine|un élève sur deux|un grand homme en manteau bleu|la chorale|personne"
        "|le plus jeune cuisinier|le peintre d'à côté",
        "traverse la large rivière|compte les lampes|a oublié son parapluie|prépare du pain au miel"
        "|attend le courrier|chante plus fort que le vent|répare une vieille horloge|dessine une carte de la lune",
        "avant le lever du soleil|derrière la maison verte|au milieu de l'hiver|une fois par semaine|sans dire un mot"
        "|sur le chemin du port|dès qu'il pleut|sous le pont de bois",
        "Bonjour !|Tu es sûr ?|Quelle belle soirée !|Un instant, s'il vous plaît.|Non, pas encore.|Ah bon !"
        "|Oui, bien sûr.|Qui est là ?",
    ),
    "es": (
        "el viejo barco|nuestra vecina|uno de cada dos alumnos|un hombre alto con abrigo azul|el coro|nadie aquí"
        "|el cocinero más joven|la pintora de al lado",
        "cruza el ancho río|cuenta las lámparas|ha olvidado el paraguas|prepara pan con miel|espera el correo"
        "|canta más fuerte que el viento|arregla un reloj roto|dibuja un mapa de la luna",
        "antes de que salga el sol|detrás de la casa verde|en pleno invierno|una vez por semana|sin decir nada"
        "|camino del puerto|en cuanto llueve|debajo del puente de madera",
        "¡Buenos días!|¿Estás seguro?|¡Qué tarde tan bonita!|Un momento, por favor.|No, todavía no.|¡Ah!"
        "|Sí, claro.|¿Quién es?",
    ),
    "it": (
        "il vecchio traghetto|la nostra vicina|uno scolaro su due|un uomo alto col cappotto blu|il coro|nessuno"
        "|il cuoco più giovane|la pittrice accanto",
        "attraversa il largo fiume|conta le lampade|ha dimenticato l'ombrello|cuoce il pane al miele"
        "|aspetta la posta|canta più forte del vento|ripara un orologio rotto|disegna una mappa della luna",
        "prima dell'alba|dietro la casa verde|in pieno inverno|una volta alla settimana|senza dire una parola"
        "|sulla strada del porto|appena piove|sotto il ponte di legno",
        "Buongiorno!|Sei sicuro?|Che bella serata!|Un momento, per favore.|No, non ancora.|Ah!|Sì, certo.|Chi è?",
    ),
    "pt": (
        "o velho barco|a nossa vizinha|um em cada dois alunos|um homem alto de casaco azul|o coro|ninguém aqui"
        "|o cozinheiro mais novo|a pintora do lado",
        "atravessa o rio largo|conta as lâmpadas|esqueceu o guarda-chuva|faz pão com mel|espera pelo correio"
        "|canta mais alto do que o vento|conserta um relógio partido|desenha um mapa da lua",
        "antes do nascer do sol|atrás da casa verde|em pleno inverno|uma vez por semana|sem dizer uma palavra"
        "|a caminho do porto|assim que chove|debaixo da ponte de madeira",
        "Bom dia!|Tens a certeza?|Que noite tão bonita!|Um momento, por favor.|Não, ainda não.|Ah!|Sim, claro.|Quem é?",
    ),
    "nl": (
        "de oude veerboot|onze buurvrouw|elke tweede leerling|een lange man in een blauwe jas|het koor|niemand hier"
        "|de jongste kok|de schilder van hiernaast",
        "steekt de brede rivier over|telt de lampen|is de paraplu vergeten|bakt brood met honing|wacht op de post"
        "|zingt harder dan de wind|repareert een kapotte klok|tekent een kaart van de maan",
        "voor zonsopgang|achter het groene huis|midden in de winter|één keer per week|zonder een woord te zeggen"
        "|op weg naar de haven|zodra het regent|onder de houten brug",
        "Goedemorgen!|Weet je het zeker?|Wat een mooie avond!|Een ogenblik, alstublieft.|Nee, nog niet.|O ja!"
        "|Ja, natuurlijk.|Wie is daar?",
    ),
    "pl": (
        "stary prom|nasza sąsiadka|co drugi uczeń|wysoki mężczyzna w niebieskim płaszczu|chór|nikt tutaj"
        "|najmłodszy kucharz|malarz zza ściany",
        "płynie przez szeroką rzekę|liczy lampy|szuka parasola|piecze chleb z miodem|czeka na pocztę"
        "|śpiewa głośniej niż wiatr|naprawia stary zegar|rysuje mapę księżyca",
        "przed wschodem słońca|za zielonym domem|w środku zimy|raz w tygodniu|bez jednego słowa|w drodze do portu"
        "|kiedy pada deszcz|pod drewnianym mostem",
        "Dzień dobry!|Jesteś pewien?|Jaki piękny wieczór!|Chwileczkę, proszę.|Nie, jeszcze nie.|Ach!|Tak, oczywiście."
        "|Kto tam?",
    ),
    "sv": (
        "den gamla färjan|vår grannes dotter|varannan elev|en lång man i blå rock|kören|ingen här|den yngsta kocken"
        "|målaren bredvid",
        "korsar den breda floden|räknar lamporna|har glömt paraplyet|bakar bröd med honung|väntar på posten"
        "|sjunger högre än vinden|lagar en trasig klocka|ritar en karta över månen",
        "innan solen går upp|bakom det gröna huset|mitt i vintern|en gång i veckan|utan att säga ett ord"
        "|på väg till hamnen|så fort det regnar|under träbron",
        "God morgon!|Är du säker?|Vilken vacker kväll!|Ett ögonblick, tack.|Nej, inte än.|Jaså!|Ja, självklart."
        "|Vem är det?",
    ),
    "fi": (
        "vanha lautta|naapurin tytär|joka toinen oppilas|pitkä mies sinisessä takissa|kuoro|pieni lapsi"
        "|nuorin kokki|viereisen talon maalari",
        "ylittää leveän joen|laskee lamput|unohtaa sateenvarjon|leipoo leipää hunajasta|odottaa postia"
        "|laulaa tuulta kovempaa|korjaa rikkinäistä kelloa|piirtää kuun karttaa",
        "ennen auringonnousua|vihreän talon takana|keskellä talvea|kerran viikossa|sanomatta sanaakaan"
        "|matkalla satamaan|heti kun sataa|puusillan alla",
        "Hyvää huomenta!|Oletko varma?|Miten kaunis ilta!|Hetkinen, olkaa hyvä.|Ei, ei vielä.|Ai niin!"
        "|Kyllä, tietysti.|Kuka siellä?",
    ),
    "cs": (
        "starý přívoz|naše sousedka|každý druhý žák|vysoký muž v modrém kabátě|sbor|nikdo tady|nejmladší kuchař"
        "|malíř odvedle",
        "pluje přes širokou řeku|počítá lampy|hledá deštník|peče chleba s medem|čeká na poštu"
        "|zpívá hlasitěji než vítr|opravuje rozbité hodiny|kreslí mapu měsíce",
        "před východem slunce|za zeleným domem|uprostřed zimy|jednou za týden|beze slova|cestou do přístavu"
        "|jakmile prší|pod dřevěným mostem",
        "Dobré ráno!|Jste si jistý?|To je krásný večer!|Okamžik, prosím.|Ne, ještě ne.|Aha!|Ano, samozřejmě.|Kdo je?",
    ),
    "tr": (
        "eski vapur|komşumuzun kızı|her iki öğrenciden biri|mavi paltolu uzun bir adam|koro|burada hiç kimse"
        "|en genç aşçı|yan evdeki ressam",
        "geniş nehri geçiyor|lambaları sayıyor|şemsiyesini unutmuş|ballı ekmek yapıyor|postayı bekliyor"
        "|rüzgardan yüksek söylüyor|bozuk saati onarıyor|ayın haritasını çiziyor",
        "güneş doğmadan önce|yeşil evin arkasında|kışın ortasında|haftada bir|tek kelime etmeden|limana giderken"
        "|yağmur yağınca|tahta köprünün altında",
        "Günaydın!|Emin misin?|Ne güzel bir akşam!|Bir dakika lütfen.|Hayır, henüz değil.|Ah!|Evet, elbette.|Kim o?",
    ),
    "hu": (
        "az öreg komp|a szomszéd lánya|minden második diák|egy magas férfi kék kabátban|a kórus|itt senki"
        "|a legfiatalabb szakács|a szomszéd festő",
        "átkel a széles folyón|megszámolja a lámpákat|otthon felejti az esernyőt|mézes kenyeret süt|várja a postát"
        "|hangosabban énekel a szélnél|megjavít egy régi órát|térképet rajzol a holdról",
        "napkelte előtt|a zöld ház mögött|a tél közepén|hetente egyszer|egyetlen szó nélkül|útban a kikötő felé"
        "|amint esik az eső|a fahíd alatt",
        "Jó reggelt!|Biztos vagy benne?|Milyen szép este!|Egy pillanat, kérem.|Nem, még nem.|Ó!|Igen, persze.|Ki az?",
    ),
    "ru": (
        "старый паром|наша соседка|каждый второй ученик|высокий мужчина в синем пальто|хор|никто здесь|молодой повар"
        "|художник из соседнего дома",
        "идёт через широкую реку|считает лампы|ищет свой зонтик|печёт хлеб с мёдом|ждёт почту|поёт громче ветра"
        "|чинит сломанные часы|рисует карту луны",
        "до восхода солнца|за зелёным домом|в середине зимы|раз в неделю|не говоря ни слова|по дороге в порт"
        "|как только идёт дождь|под деревянным мостом",
        "Доброе утро!|Ты уверен?|Какой прекрасный вечер!|Минутку, пожалуйста.|Нет, ещё нет.|Ах вот как!|Да, конечно."
        "|Кто там?",
    ),
    "el": (
        "το παλιό καράβι|η γειτόνισσά μας|κάθε δεύτερος μαθητής|ένας ψηλός άντρας με μπλε παλτό|η χορωδία"
        "|κανένας εδώ|ο νεότερος μάγειρας|ο ζωγράφος δίπλα",
        "περνάει το πλατύ ποτάμι|μετράει τις λάμπες|ξέχασε την ομπρέλα|ψήνει ψωμί με μέλι|περιμένει το γράμμα"
        "|τραγουδάει πιο δυνατά από τον άνεμο|φτιάχνει ένα χαλασμένο ρολόι|ζωγραφίζει έναν χάρτη",
        "πριν βγει ο ήλιος|πίσω από το πράσινο σπίτι|στη μέση του χειμώνα|μια φορά την εβδομάδα|χωρίς να πει λέξη"
        "|στο δρόμο για το λιμάνι|μόλις βρέχει|κάτω από τη γέφυρα",
        "Καλημέρα!|Είσαι σίγουρος;|Τι όμορφη βραδιά!|Μια στιγμή, παρακαλώ.|Όχι, όχι ακόμα.|Α!|Ναι, βέβαια."
        "|Ποιος είναι;",
    ),
    "id": (
        "kapal tua itu|anak tetangga kami|setiap murid kedua|seorang pria tinggi berjas biru|paduan suara"
        "|tidak seorang pun|juru masak termuda|pelukis di sebelah",
        "menyeberangi sungai yang lebar|menghitung lampu|lupa membawa payung|membuat roti dengan madu|menunggu surat"
        "|bernyanyi lebih keras dari angin|memperbaiki jam rusak|menggambar peta bulan",
        "sebelum matahari terbit|di belakang rumah hijau|di tengah musim hujan|seminggu sekali|tanpa berkata apa pun"
        "|dalam perjalanan ke pelabuhan|begitu hujan turun|di bawah jembatan kayu",
        "Selamat pagi!|Kamu yakin?|Malam yang indah sekali!|Tunggu sebentar.|Tidak, belum.|Oh!|Ya, tentu saja."
        "|Siapa di sana?",
    ),
}
TEST = {
    "da": (
        "den gamle færge|naboens datter|hver anden elev|en høj mand i blå frakke|koret|den yngste kok",
        "krydser den brede flod|tæller lamperne|har glemt paraplyen|bager brød med honning|venter på posten"
        "|synger højere end vinden",
        "før solen står op|bag det grønne hus|midt om vinteren|en gang om ugen|på vej til havnen|når det regner",
        "God morgen!|Er du sikker?|Sikke en smuk aften!|Nej, ikke endnu.|Ja, selvfølgelig.|Hvem er det?",
    ),
    "ro": (
        "vechiul vapor|vecina noastră|fiecare al doilea elev|un bărbat înalt cu palton albastru|corul"
        "|cel mai tânăr bucătar",
        "trece râul cel larg|numără lămpile|a uitat umbrela|face pâine cu miere|așteaptă poșta"
        "|cântă mai tare decât vântul",
        "înainte de răsărit|în spatele casei verzi|în mijlocul iernii|o dată pe săptămână|în drum spre port|când plouă",
        "Bună dimineața!|Ești sigur?|Ce seară frumoasă!|Nu, nu încă.|Da, desigur.|Cine este?",
    ),
    "hr": (
        "stari brod|naša susjeda|svaki drugi učenik|visok čovjek u plavom kaputu|zbor|najmlađi kuhar",
        "prelazi široku rijeku|broji svjetiljke|traži kišobran|peče kruh s medom|čeka poštu|pjeva glasnije od vjetra",
        "prije izlaska sunca|iza zelene kuće|usred zime|jednom tjedno|na putu do luke|čim padne kiša",
        "Dobro jutro!|Jesi li siguran?|Kakva lijepa večer!|Ne, još ne.|Da, naravno.|Tko je?",
    ),
    "sw": (
        "meli ya zamani|jirani yetu|kila mwanafunzi wa pili|mtu mrefu mwenye koti la buluu|kwaya|mpishi mdogo",
        "anavuka mto mpana|anahesabu taa|amesahau mwavuli|anaoka mkate wa asali|anangoja barua|anaimba kuliko upepo",
        "kabla ya jua kuchomoza|nyuma ya nyumba ya kijani|katikati ya baridi|mara moja kwa wiki|njiani kwenda bandarini"
        "|mvua inaponyesha",
        "Habari za asubuhi!|Una uhakika?|Jioni nzuri sana!|Hapana, bado.|Ndiyo, bila shaka.|Nani huyo?",
    ),
}
SHARED = ("en", "de", "fr", "es")  # spoken in both splits


def languages(split: str) -> list[str]:
    """The languages of "train" or "test", as espeak-ng names them."""
    return sorted(TRAIN) if split == "train" else sorted({*TEST, *SHARED})


def sentence(language: str, split: str, rng: np.random.Generator) -> str:
    """One sentence, or a short call: what it says depends on `rng` alone."""
    lists = [allowed(text.split("|"), language, split) for text in (TRAIN | TEST)[language]]
    who, what, when, calls = ([str(rng.choice(phrases)) for _ in range(2)] for phrases in lists)
    kind = rng.random()
    if kind < 0.15:
        return calls[0]
    if kind < 0.25:
        return f"{rng.integers(2, 9999)}, {rng.integers(2, 99)}."
    if kind < 0.45:
        return f"{who[0]} {what[0]}, {who[1]} {what[1]} {when[0]}."
    if kind < 0.60:
        return f"{when[0]}, {who[0]} {what[0]}."
    if kind < 0.70:
        return f"{who[0]} {what[0]} {when[0]}?"
    return f"{who[0]} {what[0]} {when[0]}."


def allowed(phrases: list[str], language: str, split: str) -> list[str]:
    """Of a language that both splits speak, each has its own phrases."""
    if language not in SHARED:
        return phrases
    return [phrase for n, phrase in enumerate(phrases) if (n % RESERVED == RESERVED - 1) == (split == "test")]
