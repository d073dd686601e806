import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

frame = pd.read_csv("adult.csv")
frame = frame[frame["age"] > 16]
frame["income"] = (frame["income"].str.strip() == ">50K").astype(int)
X, y = frame.drop(columns=["income"]), frame["income"]
X["capital"] = X["capital"].fillna(0)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
columns = X.select_dtypes("object").columns
prepare = ColumnTransformer(
    [("cat", OneHotEncoder(handle_unknown="ignore"), columns)], remainder=StandardScaler()
)
model = Pipeline([("prepare", prepare), ("forest", RandomForestClassifier(random_state=0))])
search = GridSearchCV(model, {"forest__max_depth": [4, 8, None]}, cv=3)
search.fit(X_train, y_train)
print(classification_report(y_test, search.predict(X_test)))
joblib.dump(search.best_estimator_, "model.joblib")
