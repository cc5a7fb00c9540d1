//! What the simulated users say: topics and templates in six languages. Written for this file.

/// Topics of the world; also the `source` of its queries.
pub(super) const TOPICS: [&str; 8] =
    ["math", "code", "medicine", "law", "history", "cooking", "travel", "physics"];

/// Kinds of request by difficulty: easy, middling, hard.
pub(super) const N_LEVELS: usize = 3;

/// Share of each level.
pub(super) const LEVEL_SHARES: [f64; N_LEVELS] = [0.35, 0.4, 0.25];

/// One language: its terms by topic and its templates by level.
#[derive(Debug)]
pub(super) struct Language {
    /// Terms of each topic, in the order of [`TOPICS`].
    pub(super) terms: [[&'static str; 6]; 8],
    /// Templates of each level; `{a}` and `{b}` stand for terms, `{n}` for a number.
    pub(super) templates: [[&'static str; 2]; N_LEVELS],
    /// For whom the answer is meant.
    pub(super) audiences: [&'static str; 5],
}

/// The languages, most frequent first.
pub(super) static LANGUAGES: [Language; 6] = [ENGLISH, GERMAN, SPANISH, CHINESE, RUSSIAN, FRENCH];

const ENGLISH: Language = Language {
    terms: [
        [
            "a quadratic equation",
            "a prime factorization",
            "an integral",
            "a probability",
            "a matrix inverse",
            "a sum of fractions",
        ],
        [
            "a binary search in Rust",
            "a Python decorator",
            "a failing unit test",
            "an SQL join",
            "a memory leak",
            "a regular expression",
        ],
        [
            "a persistent cough",
            "high blood pressure",
            "an antibiotic dose",
            "a migraine",
            "a vaccination schedule",
            "a swollen knee",
        ],
        [
            "a rental contract",
            "a breach of warranty",
            "a last will",
            "a patent claim",
            "a traffic fine",
            "the burden of proof",
        ],
        [
            "the fall of Rome",
            "the silk road",
            "the French revolution",
            "a medieval guild",
            "the cold war",
            "the printing press",
        ],
        [
            "a sourdough bread",
            "a tomato sauce",
            "a mushroom risotto",
            "a marinade for tofu",
            "a lemon cake",
            "a clear broth",
        ],
        [
            "a night train",
            "a visa application",
            "a hiking trail",
            "a cheap hostel",
            "a ferry timetable",
            "a lost suitcase",
        ],
        [
            "a harmonic oscillator",
            "the entropy of a gas",
            "a black hole",
            "an electric field",
            "a laser cavity",
            "the photoelectric effect",
        ],
    ],
    templates: [
        ["What is {a}?", "Give me a short definition: {a}."],
        [
            "Compare {a} with {b} and give {n} examples.",
            "Explain step by step how {a} relates to {b}, in {n} points.",
        ],
        [
            "Work through a difficult case that combines {a} and {b}; justify every one of the {n} \
             steps rigorously and discuss the exceptions.",
            "Write an expert analysis of {a} under unusual constraints, contrast it with {b}, and \
             refute {n} objections in detail.",
        ],
    ],
    audiences: ["for a child", "for an exam", "for my manager", "for a newspaper", "for myself"],
};

const GERMAN: Language = Language {
    terms: [
        [
            "eine quadratische Gleichung",
            "eine Primfaktorzerlegung",
            "ein Integral",
            "eine Wahrscheinlichkeit",
            "eine inverse Matrix",
            "eine Bruchrechnung",
        ],
        [
            "eine binäre Suche in Rust",
            "ein Python-Dekorator",
            "ein fehlschlagender Unittest",
            "ein SQL-Join",
            "ein Speicherleck",
            "ein regulärer Ausdruck",
        ],
        [
            "ein hartnäckiger Husten",
            "Bluthochdruck",
            "eine Antibiotikadosis",
            "eine Migräne",
            "ein Impfplan",
            "ein geschwollenes Knie",
        ],
        [
            "ein Mietvertrag",
            "eine Gewährleistung",
            "ein Testament",
            "ein Patentanspruch",
            "ein Bußgeld",
            "die Beweislast",
        ],
        [
            "der Untergang Roms",
            "die Seidenstraße",
            "die Französische Revolution",
            "eine Zunft im Mittelalter",
            "der Kalte Krieg",
            "der Buchdruck",
        ],
        [
            "ein Sauerteigbrot",
            "eine Tomatensoße",
            "ein Pilzrisotto",
            "eine Marinade für Tofu",
            "ein Zitronenkuchen",
            "eine klare Brühe",
        ],
        [
            "ein Nachtzug",
            "ein Visumantrag",
            "ein Wanderweg",
            "eine günstige Herberge",
            "ein Fährfahrplan",
            "ein verlorener Koffer",
        ],
        [
            "ein harmonischer Oszillator",
            "die Entropie eines Gases",
            "ein schwarzes Loch",
            "ein elektrisches Feld",
            "ein Laserresonator",
            "der photoelektrische Effekt",
        ],
    ],
    templates: [
        ["Was ist das: {a}?", "Eine kurze Definition bitte: {a}."],
        [
            "Bitte vergleichen und {n} Beispiele nennen: {a}; {b}.",
            "Schritt für Schritt erklären, in {n} Punkten: {a}; {b}.",
        ],
        [
            "Ein schwieriger Fall, der beides verbindet: {a}; {b}. Bitte jeden der {n} Schritte streng \
             begründen und die Ausnahmen erörtern.",
            "Eine fachkundige Analyse unter ungewöhnlichen Bedingungen: {a}. Abgrenzung dazu: {b}. \
             Bitte {n} Einwände ausführlich widerlegen.",
        ],
    ],
    audiences: [
        "für ein Kind",
        "für eine Prüfung",
        "für meine Chefin",
        "für eine Zeitung",
        "für mich selbst",
    ],
};

const SPANISH: Language = Language {
    terms: [
        [
            "una ecuación cuadrática",
            "una factorización en primos",
            "una integral",
            "una probabilidad",
            "una matriz inversa",
            "una suma de fracciones",
        ],
        [
            "una búsqueda binaria en Rust",
            "un decorador de Python",
            "una prueba unitaria que falla",
            "un join de SQL",
            "una fuga de memoria",
            "una expresión regular",
        ],
        [
            "una tos persistente",
            "la presión arterial alta",
            "una dosis de antibiótico",
            "una migraña",
            "un calendario de vacunas",
            "una rodilla hinchada",
        ],
        [
            "un contrato de alquiler",
            "una garantía incumplida",
            "un testamento",
            "una reivindicación de patente",
            "una multa de tráfico",
            "la carga de la prueba",
        ],
        [
            "la caída de Roma",
            "la ruta de la seda",
            "la Revolución francesa",
            "un gremio medieval",
            "la guerra fría",
            "la imprenta",
        ],
        [
            "un pan de masa madre",
            "una salsa de tomate",
            "un risotto de setas",
            "una marinada para tofu",
            "un pastel de limón",
            "un caldo claro",
        ],
        [
            "un tren nocturno",
            "una solicitud de visado",
            "una ruta de senderismo",
            "un albergue barato",
            "un horario de ferris",
            "una maleta perdida",
        ],
        [
            "un oscilador armónico",
            "la entropía de un gas",
            "un agujero negro",
            "un campo eléctrico",
            "una cavidad láser",
            "el efecto fotoeléctrico",
        ],
    ],
    templates: [
        ["¿Qué es {a}?", "Dame una definición breve: {a}."],
        [
            "Compara {a} con {b} y da {n} ejemplos.",
            "Explica paso a paso la relación entre {a} y {b}, en {n} puntos.",
        ],
        [
            "Resuelve un caso difícil que combine {a} y {b}; justifica con rigor cada uno de los {n} \
             pasos y discute las excepciones.",
            "Escribe un análisis experto sobre {a} en condiciones inusuales, compáralo con {b} y refuta \
             {n} objeciones en detalle.",
        ],
    ],
    audiences: ["para un niño", "para un examen", "para mi jefa", "para un periódico", "para mí"],
};

const CHINESE: Language = Language {
    terms: [
        ["一元二次方程", "质因数分解", "定积分", "概率计算", "逆矩阵", "分数求和"],
        ["用 Rust 写的二分查找", "Python 装饰器", "失败的单元测试", "SQL 连接查询", "内存泄漏", "正则表达式"],
        ["持续咳嗽", "高血压", "抗生素剂量", "偏头痛", "疫苗接种计划", "膝盖肿胀"],
        ["租赁合同", "违反保修条款", "遗嘱", "专利权利要求", "交通罚款", "举证责任"],
        ["罗马的灭亡", "丝绸之路", "法国大革命", "中世纪行会", "冷战", "印刷术"],
        ["酸面包", "番茄酱汁", "蘑菇烩饭", "豆腐腌料", "柠檬蛋糕", "清汤"],
        ["夜间列车", "签证申请", "徒步路线", "便宜的旅舍", "渡轮时刻表", "丢失的行李箱"],
        ["谐振子", "气体的熵", "黑洞", "电场", "激光谐振腔", "光电效应"],
    ],
    templates: [
        ["什么是{a}？", "请简短定义：{a}。"],
        ["请比较{a}和{b}，并举{n}个例子。", "请分{n}点逐步说明{a}与{b}的关系。"],
        [
            "请分析一个同时涉及{a}和{b}的疑难案例，严格论证全部{n}个步骤，并讨论各种例外情况。",
            "请就特殊条件下的{a}写一篇专家分析，与{b}对比，并详细反驳{n}条反对意见。",
        ],
    ],
    audiences: ["给孩子看", "用于考试", "给我的经理", "给报纸", "给我自己"],
};

const RUSSIAN: Language = Language {
    terms: [
        [
            "квадратное уравнение",
            "разложение на простые множители",
            "определённый интеграл",
            "вероятность события",
            "обратная матрица",
            "сумма дробей",
        ],
        [
            "двоичный поиск на Rust",
            "декоратор в Python",
            "падающий модульный тест",
            "соединение таблиц SQL",
            "утечка памяти",
            "регулярное выражение",
        ],
        [
            "затяжной кашель",
            "высокое давление",
            "доза антибиотика",
            "мигрень",
            "график прививок",
            "опухшее колено",
        ],
        [
            "договор аренды",
            "нарушение гарантии",
            "завещание",
            "формула изобретения",
            "дорожный штраф",
            "бремя доказывания",
        ],
        [
            "падение Рима",
            "шёлковый путь",
            "Французская революция",
            "средневековый цех",
            "холодная война",
            "печатный станок",
        ],
        [
            "хлеб на закваске",
            "томатный соус",
            "ризотто с грибами",
            "маринад для тофу",
            "лимонный пирог",
            "прозрачный бульон",
        ],
        [
            "ночной поезд",
            "заявление на визу",
            "пеший маршрут",
            "дешёвый хостел",
            "расписание паромов",
            "потерянный чемодан",
        ],
        [
            "гармонический осциллятор",
            "энтропия газа",
            "чёрная дыра",
            "электрическое поле",
            "лазерный резонатор",
            "фотоэффект",
        ],
    ],
    templates: [
        ["Что такое {a}?", "Дай краткое определение: {a}."],
        ["Сравни и приведи примеры ({n}): {a}; {b}.", "Объясни по шагам, в {n} пунктах: {a}; {b}."],
        [
            "Разбери трудный случай, где сочетаются {a} и {b}; строго обоснуй каждый из шагов ({n}) и \
             обсуди исключения.",
            "Напиши экспертный анализ при необычных условиях: {a}. Для сравнения: {b}. Подробно \
             опровергни возражения ({n}).",
        ],
    ],
    audiences: ["для ребёнка", "для экзамена", "для начальника", "для газеты", "для себя"],
};

const FRENCH: Language = Language {
    terms: [
        [
            "une équation du second degré",
            "une factorisation en nombres premiers",
            "une intégrale",
            "une probabilité",
            "une matrice inverse",
            "une somme de fractions",
        ],
        [
            "une recherche binaire en Rust",
            "un décorateur Python",
            "un test unitaire qui échoue",
            "une jointure SQL",
            "une fuite de mémoire",
            "une expression régulière",
        ],
        [
            "une toux persistante",
            "une tension élevée",
            "une dose d'antibiotique",
            "une migraine",
            "un calendrier vaccinal",
            "un genou enflé",
        ],
        [
            "un contrat de location",
            "un défaut de garantie",
            "un testament",
            "une revendication de brevet",
            "une amende routière",
            "la charge de la preuve",
        ],
        [
            "la chute de Rome",
            "la route de la soie",
            "la Révolution française",
            "une guilde médiévale",
            "la guerre froide",
            "l'imprimerie",
        ],
        [
            "un pain au levain",
            "une sauce tomate",
            "un risotto aux champignons",
            "une marinade pour tofu",
            "un gâteau au citron",
            "un bouillon clair",
        ],
        [
            "un train de nuit",
            "une demande de visa",
            "un sentier de randonnée",
            "une auberge bon marché",
            "un horaire de ferry",
            "une valise perdue",
        ],
        [
            "un oscillateur harmonique",
            "l'entropie d'un gaz",
            "un trou noir",
            "un champ électrique",
            "une cavité laser",
            "l'effet photoélectrique",
        ],
    ],
    templates: [
        ["C'est quoi, {a} ?", "Une courte définition : {a}."],
        [
            "Compare {a} et {b}, avec {n} exemples.",
            "Explique pas à pas le lien entre {a} et {b}, en {n} points.",
        ],
        [
            "Traite un cas difficile qui réunit {a} et {b} ; justifie rigoureusement chacune des {n} \
             étapes et discute les exceptions.",
            "Rédige une analyse experte dans des conditions inhabituelles : {a}. À comparer : {b}. \
             Réfute {n} objections en détail.",
        ],
    ],
    audiences: ["pour un enfant", "pour un examen", "pour ma cheffe", "pour un journal", "pour moi"],
};
